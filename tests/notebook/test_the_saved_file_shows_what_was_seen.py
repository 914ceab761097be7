"""In a real kernel, driven as papermill drives it: what of a live view is in the file afterwards."""

from __future__ import annotations

import pytest

from tests.notebook.kernels import run_cells, text_of

pytestmark = pytest.mark.process

FOLLOW = """
from kaos_ext.notebook.background import Background
from kaos_ext.notebook.watch import Watch
from tests.notebook.scripted import Script, feed, some, watch_line
script = Script()
watch = Watch(Background(), watch_line(), stream=script.open)
watch.start()
"""
LOOK = {"KAOS_NONINTERACTIVE": "0"}
SEEN_WITHOUT_WAITING = """
import threading
drawn = threading.Event()
watch.listen(lambda view: drawn.set() if view.state.totals.iterations == 3 else None)
feed(watch, script, lambda s: s.events.extend(some(3)))
assert drawn.wait(10)
"""


def test_what_the_background_draws_during_later_cells_is_saved_in_the_first() -> None:
    _, shown, *_ = run_cells(FOLLOW, "watch", SEEN_WITHOUT_WAITING, "1 + 1", env=LOOK)
    assert len(shown) == 1
    assert "iteration 3" in text_of(shown)
    assert ">3</div>" in shown[0]["data"]["text/html"]
    assert shown[0]["data"]["application/vnd.kaos.agent.v1+json"]["iteration"] == 3


def test_waiting_in_the_last_cell_saves_the_last_state_though_nobody_looks() -> None:
    feed = "feed(watch, script, lambda s: s.events.extend(some(2)))"
    _, shown, *_ = run_cells(FOLLOW, "watch", feed, "_ = watch.wait(2)")
    assert "iteration 2" in text_of(shown)


def test_the_end_of_a_cell_draws_what_changed() -> None:
    known = (
        "get_ipython().run_line_magic('load_ext', 'kaos_ext'); get_ipython()._kaos_magics.watches.add(('w', ''), watch)"
    )
    _, _, shown, *_ = run_cells(FOLLOW, known, "watch", SEEN_WITHOUT_WAITING)
    assert "iteration 3" in text_of(shown)


def test_waiting_too_long_fails_the_cell_in_a_few_red_lines() -> None:
    outputs = run_cells(FOLLOW, "watch.wait(2, timeout=0.05)", allow_errors=True)[-1]
    (error,) = outputs
    assert error["output_type"] == "error"
    assert error["ename"] == "NotReadyError"
    assert error["evalue"] == "auto-agent has finished 0 of 2 iterations after 0.05 s"
    assert len(error["traceback"]) == 2


def test_the_widget_carries_the_html_and_the_text_of_the_view() -> None:
    feed = "feed(watch, script, lambda s: s.events.extend(some(2)))"
    outputs = run_cells(FOLLOW, feed, "watch.wait(2); watch.widget")[-1]
    data = outputs[-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert ">2</div>" in data["text/html"]
    assert "iteration 2" in data["text/plain"]


def test_the_widget_composes_and_can_be_observed() -> None:
    code = """
import ipywidgets, threading
widget = watch.widget
box = ipywidgets.HBox([widget, ipywidgets.Label("beside it")])
seen = []
widget.observe(lambda change: seen.append(change["new"]), "finished")
feed(watch, script, lambda s: s.events.extend(some(2)))
watch.wait(2)
print(seen[-1], widget.phase, widget.iteration, watch.widget is widget, len(box.children))
"""
    assert text_of(run_cells(FOLLOW, code)[-1]) == "2 waiting 2 True 2\n"


def test_a_watch_shows_itself_once_in_its_own_cell_and_again_where_it_is_asked_for() -> None:
    own, later = run_cells(FOLLOW, "watch.show()\nwatch", "watch")[1:]
    assert len(own) == 1
    assert len(later) == 1
