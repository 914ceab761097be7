"""A notebook in its committed form: outputs that every run gives again, nothing of the machine or the moment.

    streams       of one name joined, as a terminal would show them in the end
    any text      masked (`masks`), the live view of a loop canonical (`liveview`)
    counts, ids   execution counts, papermill's and nbclient's notes, widget states, the kernel's version: away

`normalised` is idempotent, so a committed notebook and a fresh run are compared by normalising both. `post_process` is
the same thing as a post-processor of pytest-notebook, by which `pytest --nb-test-files` passes too.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from kaos_ext.testing.liveview import MIMETYPE, canonical
from kaos_ext.testing.masks import masked, masked_json
from kaos_ext.testing.screen_text import final_text

VOLATILE_CELL = ("execution", "papermill", "ExecuteTime")
VOLATILE_NOTEBOOK = ("papermill", "widgets", "signature")
_LOADED = re.compile(r"^The \S+ extension is already loaded\. To reload it, use:\n  %reload_ext \S+\n", re.MULTILINE)
"""IPython's answer to a second `%load_ext`, which is no part of what a notebook shows."""
INJECTED = frozenset({"injected-parameters", "papermill-error-cell-tag"})


def normalised(notebook: Any) -> Any:
    """A copy of the notebook in its committed form."""
    result = copy.deepcopy(notebook)
    result.cells = [cell for cell in result.cells if not INJECTED & set(cell.metadata.get("tags", ()))]
    for name in VOLATILE_NOTEBOOK:
        result.metadata.pop(name, None)
    if "language_info" in result.metadata:
        result.metadata["language_info"] = type(result.metadata)({"name": result.metadata["language_info"]["name"]})
    for cell in result.cells:
        for name in VOLATILE_CELL:
            cell.metadata.pop(name, None)
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.execution_count = None
            outputs = [_output(output) for output in joined_streams(cell.outputs)]
            cell.outputs = [output for output in outputs if output.get("text", "+")]
    return result


def post_process(notebook: Any, resources: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The entry point `nbreg.post_proc` of pytest-notebook: only outputs, what else it compares it is told itself."""
    result = copy.deepcopy(notebook)
    for new, old in zip(normalised(notebook).cells, result.cells, strict=True):
        if new.cell_type == "code":
            old.outputs = new.outputs
    return result, resources


def joined_streams(outputs: list[Any]) -> list[Any]:
    """Streams of one name between two displays joined: where a write is cut is the moment's doing."""
    result: list[Any] = []
    for output in outputs:
        before = result[-1] if result else None
        both = before is not None and output.output_type == before.output_type == "stream"
        if both and before is not None and output.name == before.name:
            result[-1] = _copied(before, text=before.text + output.text)
        else:
            result.append(output)
    return result


def _copied(output: Any, **changes: Any) -> Any:
    changed = copy.deepcopy(output)
    changed.update(changes)
    return changed


def _output(output: Any) -> Any:
    result = copy.deepcopy(output)
    if result.output_type == "stream":
        result.text = masked(_LOADED.sub("", final_text(result.text)))
    elif result.output_type == "error":
        result.evalue = masked(result.evalue)
        result.traceback = []
    else:
        result.data = _bundle(dict(result.data))
        result.pop("transient", None)
        if result.output_type == "execute_result":
            result.execution_count = None
    return result


def _bundle(data: dict[str, Any]) -> dict[str, Any]:
    if MIMETYPE in data and "events" in data[MIMETYPE]:
        return {**data, **canonical(data[MIMETYPE])}
    return {kind: _value(kind, value) for kind, value in data.items()}


def _value(kind: str, value: Any) -> Any:
    if isinstance(value, str):
        # Pictures are base64: no words in them.
        return value if kind.startswith("image/") and kind != "image/svg+xml" else masked(value)
    if kind.endswith("json"):
        return masked_json(value)
    return value
