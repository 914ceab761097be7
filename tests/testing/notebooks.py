"""Notebooks for the tests, written in a few words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def code(source: str, *outputs: Any, tags: tuple[str, ...] = (), **metadata: Any) -> Any:
    cell = new_code_cell(source, outputs=list(outputs))
    if tags:
        cell.metadata["tags"] = list(tags)
    cell.metadata.update(metadata)
    return cell


def printed(text: str) -> Any:
    return new_output("stream", name="stdout", text=text)


def shown(plain: str, html: str = "", **others: Any) -> Any:
    data = {"text/plain": plain, **({"text/html": html} if html else {}), **others}
    return new_output("display_data", data=data)


def notebook(*cells: Any, **metadata: Any) -> Any:
    """A notebook with ids that say the place; text stands for a code cell without outputs."""
    made = [new_markdown_cell("# A notebook")]
    made += [code(cell) if isinstance(cell, str) else cell for cell in cells]
    for index, cell in enumerate(made):
        cell["id"] = f"cell-{index}"
    result = new_notebook(cells=made)
    result.metadata.update(
        {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}, **metadata}
    )
    return result


def written(folder: Path, made: Any, name: str = "notebook") -> Path:
    """The file of a notebook, alone in a folder of its own."""
    path = folder / name / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(made, path)
    return path


HTML = "from IPython.display import HTML, display\n"
CLEAN = notebook(
    code("count: int = 3  # how many", tags=("parameters",)),
    code("print(sum(range(count)))", printed("3\n")),
    code(f"{HTML}display(HTML('<b>bold</b>'))", shown("<IPython.core.display.HTML object>", "<b>bold</b>")),
    code("!echo from a shell", printed("from a shell\n")),
    code("assert count >= 1"),
    kaos={"lint": {"shell": "a command that works is part of what is tested"}},
)
