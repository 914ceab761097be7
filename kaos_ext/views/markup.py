"""Html that is safe by construction.

`tag()` escapes every child that is not `Markup`, and only this package makes `Markup`; so text of a model, a tool or a
server can never become an element. `clean()` also takes out what escaping does not reach: control characters, terminal
escapes, marks that reorder text, halves of surrogate pairs (they would make the notebook file unwritable).
"""

from __future__ import annotations

import html
import re

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_VOID = frozenset({"br", "hr", "wbr"})


class Markup(str):
    """Html written by us."""

    __slots__ = ()


def clean(value: object) -> str:
    """`value` as printable text; line ends are kept."""
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", _TERMINAL.sub("", text)))


def escape(value: object) -> Markup:
    # A lone dollar sign pairs up with the next one to a formula in JupyterLab; inside an element of its own it cannot.
    return Markup(html.escape(clean(value), quote=True).replace("$", "<span>$</span>"))


def attribute(value: object) -> str:
    return html.escape(clean(value).replace("\n", " "), quote=True)


def tag(name: str, *children: object, style: str = "", **attributes: str) -> Markup:
    """`<name style=…>children</name>`; a child that is not `Markup` is escaped, `None` and `""` are left out."""
    head = name + (f' style="{style}"' if style else "")
    head += "".join(f' {key.rstrip("_")}="{attribute(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    return Markup("".join(c if isinstance(c, Markup) else escape(c) for c in children if c is not None and c != ""))


def one_line(value: object, limit: int = 160) -> str:
    """`value` on one line, at most `limit` characters, cut where a word ends if that is near."""
    text = " ".join(clean(value).split())
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit * 0.7 else cut) + "…"
