"""View-models and their text, html and JSON, pure. Whatever is not written by us is escaped.

A view is a frozen dataclass with `text()`, `html()` and `json()`; `bundle(view)` is all three for a notebook.
`AgentLive` lives in `kaos_ext.views.agent`: it folds an agent's events.
"""

from __future__ import annotations

from kaos_ext.views.card import Card, Line
from kaos_ext.views.chat import Chat, Message
from kaos_ext.views.log import LogView
from kaos_ext.views.look import Tone
from kaos_ext.views.note import Annotated, ErrorView, Note
from kaos_ext.views.steps import Step, Steps, StepState
from kaos_ext.views.table import Cell, State, Table
from kaos_ext.views.task import TaskView
from kaos_ext.views.view import View, bundle, mimetype

__all__ = [
    "Annotated",
    "Card",
    "Cell",
    "Chat",
    "ErrorView",
    "Line",
    "LogView",
    "Message",
    "Note",
    "State",
    "Step",
    "StepState",
    "Steps",
    "Table",
    "TaskView",
    "Tone",
    "View",
    "bundle",
    "mimetype",
]
