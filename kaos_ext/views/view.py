"""What every view can do: say the same thing as text, as html and as JSON.

A view is a frozen dataclass without I/O. A face picks the carrier: a terminal takes `text`, a notebook the bundle of
all three, `--json` takes the data the view was made from. A view never raises while drawing: a broken repr fails the
cell.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class View(Protocol):
    """`kind` names the private mimetype; `text` is aligned plain text, `html` is self-contained, `json` its values."""

    @property
    def kind(self) -> str: ...

    def text(self) -> str: ...

    def html(self) -> str: ...

    def json(self) -> dict[str, Any]: ...


def mimetype(view: View) -> str:
    return f"application/vnd.kaos.{view.kind}.v1+json"


def bundle(view: View) -> dict[str, Any]:
    """The mime bundle of a view: what a notebook stores."""
    return {"text/plain": view.text(), "text/html": view.html(), mimetype(view): view.json()}
