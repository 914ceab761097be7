"""The text under `%%kaos …`: checked before anything is changed.

For a tool server it is Python, and one that does not compile is shown with the line at fault; for a message it is
text with the notebook's variables in it; YAML is left exactly as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.notebook.words import expand


class SourceError(KaosError):
    """The functions of the cell do not compile; nothing was changed."""


def prepare(words: Sequence[str], cell: str, variables: Mapping[str, Any]) -> str:
    """The body for the verb that `words` begin with."""
    if not cell.strip():
        raise UsageError("the cell is empty", hint="%%kaos takes its text from the lines below it")
    if words[:2] in (["mcp", "deploy"], ["mcpserver", "deploy"]):
        if "--runtime" not in words or words[words.index("--runtime") + 1 :][:1] == ["python-string"]:
            check_python(cell)
        return cell
    if words[:1] == ["apply"]:
        return cell
    return expand(cell.strip(), variables)


def check_python(source: str) -> None:
    """Raise SourceError, with the place, unless `source` compiles."""
    try:
        compile(source, "the cell", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise SourceError(
            f"line {error.lineno}: {error.msg}", hint="nothing was changed", details=_place(error)
        ) from None
    except ValueError as error:
        raise SourceError(str(error), hint="nothing was changed") from None


def _place(error: SyntaxError) -> tuple[str, ...]:
    """The line at fault with a mark under the column."""
    text = (error.text or "").rstrip("\n")
    if not text.strip():
        return ()
    number = f"{error.lineno} | "
    column = max(0, (error.offset or 1) - 1)
    width = max(1, (error.end_offset or 0) - (error.offset or 0)) if error.end_lineno == error.lineno else 1
    return (f"{number}{text}", " " * (len(number) + column) + "^" * min(width, max(1, len(text) - column)))
