"""Runs cells in a kernel of their own, as papermill and nbconvert do (both drive nbclient)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("KAOS_TEST_KERNEL_PYTHON", sys.executable)
"""Another interpreter, to try another ipykernel."""
SETUP = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'operator')!r}]"


def run_cells(
    *cells: str, env: Mapping[str, str] | None = None, allow_errors: bool = False, timeout: int = 60
) -> list[list[dict[str, Any]]]:
    """The outputs of each cell, as they would be in the saved file."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (SETUP, *cells)])
    manager = AsyncKernelManager(transport="ipc")
    manager._kernel_spec = KernelSpec(
        argv=[PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"], display_name="test", language="python"
    )
    client = NotebookClient(notebook, km=manager, timeout=timeout, allow_errors=allow_errors)
    client.execute(env={**os.environ, **(env or {})}, cleanup_kc=True)
    nbformat.validate(notebook)
    return [list(cell.outputs) for cell in notebook.cells[1:]]


def text_of(outputs: list[dict[str, Any]]) -> str:
    """What a reader of the file sees, as text."""
    said = []
    for output in outputs:
        if output["output_type"] == "stream":
            said.append(output["text"])
        elif output["output_type"] == "error":
            said.append("\n".join(output["traceback"]))
        else:
            said.append(output["data"].get("text/plain", ""))
    return "\n".join(said)
