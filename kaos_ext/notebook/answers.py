"""What a `%kaos` line gives back: an object to look at and to go on with.

It shows as its view; `.data` is what `--json` prints, `answer["events"]` looks into it, `.to_frame()` makes a pandas
frame (pandas is only needed for that).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kaos_ext.model.errors import KaosError
from kaos_ext.views import Annotated, Table, View, bundle

if TYPE_CHECKING:
    from pandas import DataFrame


class Answer:
    """The answer to one command."""

    def __init__(self, view: View, data: Any) -> None:
        self.view = view
        self.data = data

    def __repr__(self) -> str:
        return self.view.text()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        return bundle(self.view)

    def __getitem__(self, key: Any) -> Any:
        return self.data[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __bool__(self) -> bool:
        return True

    def to_frame(self) -> DataFrame:
        """The answer as a pandas frame: events and lists one row each, a single object one row."""
        return frame(self.view, self.data)


class Drawn(Answer):
    """An answer that the cell which asked for it shows already; anywhere else it shows itself."""

    def __init__(self, view: View, data: Any) -> None:
        super().__init__(view, data)
        self._cell = cell_number()

    def _ipython_display_(self) -> None:
        if self._cell is None or self._cell != cell_number():
            from IPython.display import display

            display(bundle(self.view), raw=True)


def cell_number() -> int | None:
    """Which cell runs."""
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "execution_count", None)


def frame(view: View, data: Any) -> DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise KaosError("pandas is not installed here", hint='pip install "kaos-ext[data]"') from None
    if isinstance(data, Mapping) and isinstance(data.get("events"), Sequence):
        return pd.DataFrame(event_records(data["events"]))
    view = view.view if isinstance(view, Annotated) else view
    if isinstance(view, Table):
        return pd.DataFrame(view.frame())
    return pd.json_normalize(data)


def event_records(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One flat record per memory event; the fields of the metadata come last."""
    records = []
    for event in events:
        flat = {key: value for key, value in event.items() if key != "metadata"}
        metadata = event.get("metadata")
        records.append(flat | (dict(metadata) if isinstance(metadata, Mapping) else {}))
    return records
