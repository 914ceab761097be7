"""Looked at in a real JupyterLab: the live view live, reopened untrusted, light and dark; the widget's buttons."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.notebook.browser import Browser, Lab, browser, lab
from tests.notebook.kernels import SETUP, run_cells
from tests.notebook.test_the_saved_file_shows_what_was_seen import FOLLOW

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
FEED = "feed(watch, script, lambda s: s.events.extend(some(14)))\nwatch.wait(14);"
PRICES = """
from kaos_ext.notebook.answers import Answer
from kaos_ext.views import Note, Tone
Answer(Note(Tone.DONE, "spent $0.41 of $0.50, a <b>bold</b> $x^2$"), None)
"""
ROWS = """
const box = cell => { const b = cell.getBoundingClientRect(); return [b.left, b.right]; };
const rows = [...document.querySelectorAll('.jp-OutputArea-output table tr')].filter(r => r.cells.length === 5);
return rows.slice(0, 10).map(row => [...row.cells].map(box));
"""


def write(folder: Path, name: str, *cells: str) -> None:
    made = new_notebook(cells=[new_code_cell(source) for source in (SETUP, *cells)], metadata=KERNEL)
    nbformat.write(made, folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    write(folder, "live.ipynb", FOLLOW, "watch", FEED, PRICES)
    write(folder, "widget.ipynb", FOLLOW, FEED, "watch.widget")
    cells = [FOLLOW, "watch", FEED, PRICES]
    outputs = run_cells(*cells)
    done = new_notebook(
        cells=[new_code_cell(source, outputs=o) for source, o in zip(cells, outputs, strict=True)], metadata=KERNEL
    )
    nbformat.write(done, folder / "saved.ipynb")
    return folder


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as window:
        window.size(1300, 1600)
        yield window


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with lab(folder, {"KUBECONFIG": str(folder / "none")}) as address:
        yield address


def columns_stand(window: Browser) -> None:
    """The cells of the event rows do not overlap and start at the same places in every row."""
    rows = window.run(ROWS)
    assert len(rows) == 10
    for row in rows:
        for (_, right), (left, _) in pairwise(row):
            assert right <= left + 1
    assert len({tuple(round(cell[0]) for cell in row) for row in rows}) == 1


def test_the_live_view_changes_in_place_and_reads_in_light_and_dark(window: Browser, address: str) -> None:
    page = Lab(window, address, "live.ipynb")
    page.run_all()
    view = page.outputs()[0]
    assert "auto-agent" in view
    assert "14" in view
    assert "74 earlier events" in view
    columns_stand(window)
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        page.theme(theme)
        colours = window.run(
            "const card = document.querySelector('.jp-OutputArea-output table').closest('div');"
            "return [getComputedStyle(card).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert colours[0] != colours[1]


def test_a_file_that_is_not_trusted_shows_the_same_and_text_as_text(window: Browser, address: str) -> None:
    page = Lab(window, address, "saved.ipynb")
    assert not window.run("return window.jupyterapp.shell.currentWidget.model.cells.get(1).trusted")
    assert "System check complete." in page.outputs()[0]
    assert "spent $0.41 of $0.50, a <b>bold</b> $x^2$" in page.outputs()[-1]
    assert window.run("return document.querySelector('.jp-OutputArea-output mjx-container') === null")
    columns_stand(window)
    style = window.run(
        "const spans = [...document.querySelectorAll('.jp-OutputArea-output span')];"
        "const style = getComputedStyle(spans.find(span => span.innerText === 'waiting'));"
        "return [style.backgroundColor, style.borderRadius, style.color]"
    )
    assert style == ["rgb(63, 134, 201)", "10px", "rgb(255, 255, 255)"]


def test_the_buttons_of_the_widget_answer_although_there_is_no_cluster(window: Browser, address: str) -> None:
    page = Lab(window, address, "widget.ipynb")
    page.run_all()
    window.wait_for("return document.querySelectorAll('.jupyter-button').length === 2")
    assert any("auto-agent" in output for output in page.outputs())
    window.run("document.querySelectorAll('.jupyter-button')[0].click()")
    window.wait_for("return document.body.innerText.includes('no cluster is configured')", 20)
    window.run("document.querySelectorAll('.jupyter-button')[1].click()")
    window.wait_for("return document.body.innerText.includes('as of ')", 20)
