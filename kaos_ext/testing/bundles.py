"""Has whatever is shown both text and html? So it can be read in a terminal, on GitHub, untrusted and offline.

Plain text alone (`42`) and pictures are readable everywhere; a widget or a type of somebody's own is not.
"""

from __future__ import annotations

from typing import Any

from kaos_ext.testing.findings import Finding, Verdict

SHOWN = frozenset({"display_data", "execute_result", "update_display_data"})
READABLE = ("text/", "image/")
WIDGET = "application/vnd.jupyter.widget-view+json"


def check_bundles(notebook: Any) -> list[Finding]:
    """One finding for each output that cannot be read everywhere."""
    return [
        Finding(Verdict.BUNDLES, cause, index, cell.get("id", ""))
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", ())
        if output.output_type in SHOWN and (cause := _lacks(dict(output.data)))
    ]


def _lacks(data: dict[str, Any]) -> str:
    kinds = set(data)
    special = sorted(kind for kind in kinds if not kind.startswith(READABLE))
    what = "a widget" if WIDGET in kinds else special[0] if special else "html"
    wanted = {"text/plain", "text/html"} if special else {"text/plain"}
    missing = sorted(kind for kind in wanted if not str(_text(data.get(kind, ""))).strip())
    if not missing:
        return ""
    return f"it shows {what} without {' and '.join(missing)}"


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
