"""An agent at work as an ipywidgets widget: the same view-model as the live view, with controls, to put into others.

    HBox([watch.widget, other.widget])       watch.widget.observe(react, "iteration")

Its bundle also holds the html and the text of the view, so a file opened without widgets still shows the last state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
from traitlets import Int, Unicode

from kaos_ext.model.errors import KaosError
from kaos_ext.model.loop_state import LoopPhase
from kaos_ext.views import ErrorView, bundle
from kaos_ext.views.agent import AgentLive

if TYPE_CHECKING:
    from kaos_ext.notebook.watch import Watch


class AgentWidget(ipywidgets.VBox):  # type: ignore[misc]
    """The view above its controls; `phase`, `iteration` and `last_answer` can be observed."""

    phase = Unicode("", help="What the loop does now.").tag(sync=False)
    iteration = Int(0, help="The iteration that runs or ran last.").tag(sync=False)
    finished = Int(0, help="Iterations finished.").tag(sync=False)
    last_answer = Unicode("", help="What the loop said last.").tag(sync=False)

    def __init__(self, watch: Watch, **options: Any) -> None:
        self._watch = watch
        self._shown = ipywidgets.HTML()
        self._older = ipywidgets.HTML()
        self._said = ipywidgets.HTML()
        self._events = ipywidgets.Accordion([self._older], titles=("earlier events",), selected_index=None)
        self._pause = _button("pause", "Pause the loop after its current iteration", self._toggle)
        self._stop = _button("stop", "Stop following; the agent goes on", lambda _: self._end())
        controls = ipywidgets.HBox([self._pause, self._stop, self._said])
        super().__init__([self._shown, self._events, controls], **options)
        self.draw(watch.view)
        watch.listen(self.draw)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        made = super()._repr_mimebundle_(**kwargs)
        data, metadata = made if isinstance(made, tuple) else (made, {})
        return {**bundle(self._watch.view), **(data or {}), "text/plain": self._watch.view.text()}, metadata

    def draw(self, view: AgentLive) -> None:
        self._shown.value = view.html(folded=False)
        self._older.value = view.older_html()
        self._events.layout.display = "" if self._older.value else "none"
        paused = view.state.phase is LoopPhase.PAUSED
        self._pause.description = "resume" if paused else "pause"
        self._pause.icon = "play" if paused else "pause"
        self._pause.disabled = view.state.phase is LoopPhase.IDLE
        self.phase, self.iteration = view.status, view.state.iteration
        self.finished, self.last_answer = view.state.totals.iterations, view.last_answer

    def _toggle(self, _: object) -> None:
        verb = "resume" if self._pause.description == "resume" else "pause"
        self._pause.disabled = True
        self._said.value = ""
        self._watch.command(verb, self._told)

    def _told(self, error: BaseException | None) -> None:
        self._pause.disabled = False
        if isinstance(error, KaosError):
            self._said.value = ErrorView(error.message, error.hint).html()

    def _end(self) -> None:
        self._watch.stop()
        self._stop.disabled = True


def _button(word: str, tip: str, act: Any) -> ipywidgets.Button:
    button = ipywidgets.Button(description=word, icon=word, tooltip=tip, layout=ipywidgets.Layout(width="auto"))
    button.on_click(act)
    return button
