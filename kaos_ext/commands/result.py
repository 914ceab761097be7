"""What a verb gives back: one `Result`, or a stream of `Update`s for the verbs that go on.

`view` is what a person sees, `data` what a program gets (`--json`, or the value of a magic). An `Update` is a view
itself: `text()` is only what is new, so a terminal can print one after the other, while `view` draws the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.model.errors import KaosError
from kaos_ext.views import Chat, Note, Tone
from kaos_ext.views.view import View


@dataclass(frozen=True)
class Result:
    view: View
    data: Any = None
    status: int = 0
    """The command's exit status: a test that was run and is red is an answer, not an error."""
    failure: KaosError | None = None
    """What a cell raises once the view is drawn: it has no exit status, and must not look green."""


@dataclass(frozen=True)
class Update:
    """One more piece of a stream: `line` with `end` is its text, `data` its JSON (nothing where it is None)."""

    kind: ClassVar[str] = "update"

    view: View
    line: str = ""
    data: dict[str, Any] | None = None
    end: str = "\n"

    def text(self) -> str:
        return self.line

    def html(self) -> str:
        return self.view.html()

    def json(self) -> dict[str, Any]:
        return self.data if self.data is not None else self.view.json()


Answer = Result | AsyncIterator[Update]


@dataclass(frozen=True)
class Plain:
    """Text as it is: YAML, help, a completion script."""

    kind: ClassVar[str] = "plain"

    body: str

    def text(self) -> str:
        return self.body.rstrip("\n")

    def html(self) -> str:
        from kaos_ext.views import look
        from kaos_ext.views.markup import tag

        return look.card(tag("div", self.body, style=f"white-space:pre-wrap;{look.MONO}"))

    def json(self) -> dict[str, Any]:
        return {"text": self.body}


@dataclass(frozen=True)
class Done(Note):
    """A change that was made, in the words KAOS users know: `✅ Deployed Agent 'a' with ModelAPI 'm'`."""

    tone: Tone = Tone.DONE
    message: str = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Tone.DONE, message, hint)

    def text(self) -> str:
        return f"✅ {self.message}" + (f"\n  → {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Reply(Chat):
    """A conversation whose text is only the last answer, so that a shell can use it."""

    def text(self) -> str:
        answers = [message.text for message in self.messages if message.role == "agent"]
        about = f" ({self.right})" if self.right else ""
        return answers[-1] if answers else f"{self.name}: {self.state or 'no answer'}{about}"
