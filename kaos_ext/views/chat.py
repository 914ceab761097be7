"""A conversation: who said what; a tool's call and answer are lines in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kaos_ext.views import look
from kaos_ext.views.look import Tone
from kaos_ext.views.markup import Markup, clean, one_line, tag


@dataclass(frozen=True)
class Message:
    """`role` is user, agent, tool or error; `note` is short and quiet (`echo · 4 ms`)."""

    role: str
    text: str
    note: str = ""


TONE = {"user": Tone.QUIET, "agent": Tone.MODEL, "tool": Tone.DONE, "error": Tone.FAILED}


@dataclass(frozen=True)
class Chat:
    kind: ClassVar[str] = "chat"

    name: str
    messages: tuple[Message, ...] = ()
    state: str = ""
    tone: Tone = Tone.QUIET
    right: str = ""

    def text(self) -> str:
        lines = []
        for message in self.messages:
            who = f"{message.role}: " if message.role != "tool" else f"  tool {message.note}: ".replace(" : ", ": ")
            body = one_line(message.text) if message.role == "tool" else clean(message.text)
            lines.append(who + body.replace("\n", "\n    "))
        return clean("\n".join(lines))

    def html(self) -> str:
        badge = look.pill(self.state, self.tone) if self.state else None
        return look.card(look.head("agent", self.name, badge, self.right), *(self._message(m) for m in self.messages))

    def json(self) -> dict[str, Any]:
        messages = [{"role": m.role, "text": clean(m.text), "note": clean(m.note)} for m in self.messages]
        return {"name": self.name, "state": self.state, "messages": messages}

    @staticmethod
    def _message(message: Message) -> Markup:
        tone = TONE.get(message.role, Tone.QUIET)
        label = tag(
            "div", message.role, f" · {message.note}" if message.note else "", style=f"font-size:80%;{look.MUTE}"
        )
        font = f";{look.MONO}" if message.role == "tool" else ""
        said = tag("div", message.text, style=f"white-space:pre-wrap{font}")
        rule = f"border-left:3px solid {look.COLOUR[tone]};padding:0 0 0 10px;margin:0 0 8px"
        return tag("div", label, said, style=rule)
