"""Places in the notebook whose content changes: a display with an id, drawn at most four times a second.

Drawn from the background, a frame reaches the saved file as long as cells still run; whoever waits in the foreground
draws the last state there, and so does the end of every cell, so that the saved file shows what the live one showed.
Without anybody looking (papermill, nbconvert, a plain terminal) only the first and the final state are drawn.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from kaos_ext.views import View, bundle

REFRESH_SECONDS = 0.25
ENVIRONMENT = "KAOS_NONINTERACTIVE"


def watched() -> bool:
    """Whether somebody may be looking while cells run."""
    said = os.environ.get(ENVIRONMENT, "")
    if said:
        return said.lower() in ("0", "false", "no")
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return False
    try:
        content: Any = kernel.get_parent("shell").get("content", {})
    except (LookupError, TypeError):
        content = {}
    # A frontend with a person in front of it can ask questions; the runners say that they cannot.
    return bool(content.get("allow_stdin", True))


def publish(data: dict[str, Any], display_id: str, *, update: bool) -> None:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    shell.display_pub.publish(data=data, metadata={}, transient={"display_id": display_id}, update=update)


class Frame:
    """One place. `show` draws it where the cell is; `draw` changes it, `flush` draws what was held back."""

    def __init__(
        self,
        view: View,
        *,
        live: bool | None = None,
        refresh: float = REFRESH_SECONDS,
        send: Callable[..., None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.display_id = uuid.uuid4().hex
        self._live = watched() if live is None else live
        self._refresh = refresh
        self._send = send or publish
        self._clock = clock
        self._lock = threading.Lock()
        self._view = view
        self._drawn = ""
        self._drawn_at = 0.0
        self._shown = False

    @property
    def view(self) -> View:
        return self._view

    def show(self) -> None:
        self._draw(update=False)

    def draw(self, view: View) -> None:
        """Take `view` as the content; draw it now if somebody looks and the last drawing is old enough."""
        self._view = view
        if self._live and self._shown and self._clock() - self._drawn_at >= 0.9 * self._refresh:
            self._draw(update=True)

    def flush(self, view: View | None = None) -> None:
        """Draw the newest content, whoever looks."""
        if view is not None:
            self._view = view
        if self._shown:
            self._draw(update=True)

    def _draw(self, *, update: bool) -> None:
        with self._lock:
            data = bundle(self._view)
            if update and data["text/html"] == self._drawn:
                return
            self._drawn = data["text/html"]
            self._drawn_at = self._clock()
            self._shown = True
            self._send(data, self.display_id, update=update)
