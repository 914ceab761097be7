"""Commands as they are typed in a cell: hints of the verbs say `kaos …`, here it is `%kaos …`."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import TypeVar

_COMMAND = re.compile(r"(^|`|→ )kaos (?=[a-z-])")
_HINT = "hint"
V = TypeVar("V")


def in_notebook(text: str) -> str:
    return _COMMAND.sub(r"\1%kaos ", text)


def hinted(view: V) -> V:
    """The view with its hint as a line for a cell."""
    hint = getattr(view, _HINT, "")
    if not isinstance(hint, str) or not hint or not dataclasses.is_dataclass(view):
        return view
    # A copy of the values: a view's class may have a constructor of its own.
    twin = copy.copy(view)
    object.__setattr__(twin, _HINT, in_notebook(hint))
    return twin
