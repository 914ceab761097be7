"""Runs a notebook through papermill and says which cell it is at; leaves the executed file, and an html of it.

`papermill.inspect_notebook` is asked first, so a parameter the notebook does not have is an error instead of a line in
a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaos_ext.model.errors import KaosError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One executed notebook: its cells with their outputs, its files, and the error that ended it, if one did."""

    executed: Path
    html: Path
    seconds: float
    cells: tuple[dict[str, Any], ...]
    error: str = ""

    def shown(self, mimetype: str) -> Iterator[Any]:
        """What was shown as this mimetype, in order."""
        for cell in self.cells:
            for output in cell.get("outputs", ()):
                if mimetype in output.get("data", {}):
                    yield output["data"][mimetype]


def run_notebook(
    source: Path, folder: Path, parameters: Mapping[str, Any], *, say: Say = lambda _: None, timeout: int = 300
) -> Run:
    """Execute `source` with the kernel of this interpreter; files go to `folder`."""
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise KaosError(f"{source.name} has no parameter {name}", hint=f"it has: {', '.join(known) or 'none'}")
    folder.mkdir(parents=True, exist_ok=True)
    executed = folder / source.name
    cells: list[dict[str, Any]] = []

    class Telling(NBClientEngine):  # type: ignore[misc]
        """papermill's own engine, telling where it is."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            cells.extend(nb_man.nb.cells)
            _tell(nb_man, say)
            # Sockets in the file system: no port is opened, and nobody else on the machine can listen.
            config = Config({"KernelManager": {"transport": "ipc"}})
            return super().execute_managed_notebook(nb_man, kernel_name, config=config, **options)

    papermill_engines.register("telling", Telling)
    began = time.monotonic()
    error = ""
    try:
        done = papermill.execute_notebook(
            str(source),
            str(executed),
            parameters=dict(parameters),
            engine_name="telling",
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=timeout,
            cwd=str(folder),
        )
        cells = list(done.cells)
    except PapermillExecutionError as failed:
        error = f"{failed.ename}: {failed.evalue}"
    html = to_html(executed)
    return Run(executed, html, time.monotonic() - began, tuple(cells), error)


def to_html(executed: Path) -> Path:
    """The file as a page of its own."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_filename(str(executed))
    html = executed.with_suffix(".html")
    html.write_text(body, encoding="utf-8")
    return html


def _tell(nb_man: Any, say: Say) -> None:
    """Say each code cell when it is done and how long it took."""
    total = sum(cell.cell_type == "code" for cell in nb_man.nb.cells)
    began = {"at": 0.0, "count": 0.0}
    start, complete = nb_man.cell_start, nb_man.cell_complete

    def started(cell: Any, *args: Any, **options: Any) -> Any:
        began["at"] = time.monotonic()
        return start(cell, *args, **options)

    def completed(cell: Any, *args: Any, **options: Any) -> Any:
        if cell.cell_type == "code":
            began["count"] += 1
            mark = "✗" if cell.metadata.papermill.get("exception") else "✓"
            took = time.monotonic() - began["at"]
            say(f"  {mark} {began['count']:2.0f}/{total}  {took:6.2f} s  {first_line(cell.source)}")
        return complete(cell, *args, **options)

    nb_man.cell_start, nb_man.cell_complete = started, completed


def first_line(source: str, limit: int = 76) -> str:
    """The line that says what a cell does: its first one that is no comment."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    line = lines[0] if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"
