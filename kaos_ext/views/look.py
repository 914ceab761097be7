"""The look all views share: tones, glyphs, and the few shapes they are drawn with.

Colour only carries state and a glyph always says the same without it. Inline styles, tables, `<details>` and text only:
that is what survives a notebook that is not trusted, GitHub and nbconvert. The tones are middle ones that read on white
and on black; everything else inherits the colour of its surroundings. `table-layout`, `background` and `text-align` are
set on every table because JupyterLab's own style for tables in outputs would otherwise stripe and right-align them.
"""

from __future__ import annotations

from enum import StrEnum

from kaos_ext.views.markup import Markup, join, tag


class Tone(StrEnum):
    """What a colour and a glyph say."""

    DONE = "done"
    WORKING = "working"
    WAITING = "waiting"
    FAILED = "failed"
    MODEL = "model"
    QUIET = "quiet"


COLOUR = {
    Tone.DONE: "#2f9e63",
    Tone.WORKING: "#3f86c9",
    Tone.WAITING: "#c98a10",
    Tone.FAILED: "#cf4f5f",
    Tone.MODEL: "#8a6bbf",
    Tone.QUIET: "#888888",
}
GLYPH = {
    Tone.DONE: "✓",
    Tone.WORKING: "●",
    Tone.WAITING: "◌",
    Tone.FAILED: "✗",
    Tone.MODEL: "◆",
    Tone.QUIET: "○",
}
LINE = "rgba(128,128,128,.28)"
MUTE = "opacity:.62"
MONO = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:90%"
_CELL = "border:0;background:none;text-align:left;vertical-align:top"
_TABLE = "table-layout:auto;border:0;border-collapse:collapse"
# Both names make MathJax leave the text alone (versions 2 and 3).
_PLAIN = "tex2jax_ignore mathjax_ignore"


def card(*children: object) -> Markup:
    style = f"border:1px solid {LINE};border-radius:8px;padding:12px 16px;margin:4px 0 10px;max-width:860px"
    return tag("div", *children, style=f"{style};font-size:13px;line-height:1.45", class_=_PLAIN)


def pill(text: object, tone: Tone) -> Markup:
    style = "display:inline-block;padding:1px 8px;border-radius:10px;color:#fff;font-size:85%;font-weight:600"
    return tag("span", text, style=f"{style};white-space:nowrap;background:{COLOUR[tone]}")


def muted(*children: object) -> Markup:
    return tag("span", *children, style=MUTE)


def coloured(text: object, tone: Tone) -> Markup:
    return tag("span", text, style=f"color:{COLOUR[tone]}")


def code(text: object) -> Markup:
    return tag("code", text, style=f"{MONO};background:none;padding:0")


def table(*rows: Markup, wide: bool = True, margin: str = "0") -> Markup:
    body = tag("tbody", *rows)
    return tag("table", body, style=f"{_TABLE};margin:{margin}" + (";width:100%" if wide else ""))


def tr(*cells: Markup) -> Markup:
    return tag("tr", *cells, style="background:none")


def td(*children: object, pad: str = "2px 12px 2px 0", style: str = "") -> Markup:
    return tag("td", *children, style=f"{_CELL};padding:{pad}" + (f";{style}" if style else ""))


def head(kind: object, name: object, badge: Markup | None = None, right: object = "") -> Markup:
    """The first line of a card: what it is, its name, its state; at the right where and since when."""
    left = [muted(kind), " ", tag("b", name, style="font-size:115%")]
    if badge is not None:
        left += [Markup(" &nbsp;"), badge]
    cells = [td(*left, pad="0"), td(right, pad="0", style=f"text-align:right;{MUTE};white-space:nowrap")]
    return table(tr(*cells), margin="0 0 8px")


def line(time: object, tone: Tone, what: object, detail: object, took: object, *, glyph: str = "") -> Markup:
    """One event or step. The columns never move while it updates: only `detail` takes the room that is left."""
    return tr(
        td(time, pad="2px 10px 2px 0", style=f"{MUTE};white-space:nowrap") if time is not None else Markup(""),
        td(glyph or GLYPH[tone], pad="2px 8px 2px 0", style=f"color:{COLOUR[tone]}"),
        td(what, style="white-space:nowrap"),
        td(detail, style=f"width:100%;{MONO}"),
        td(took, pad="2px 0", style=f"text-align:right;{MUTE};white-space:nowrap"),
    )


def number(label: object, value: object) -> Markup:
    """A number that matters, large, under its quiet label."""
    small = tag("div", label, style=f"font-size:80%;{MUTE}")
    large = tag("div", value, style="font-size:190%;font-weight:600;line-height:1.1;white-space:nowrap")
    return td(small, large, pad="0 26px 0 0")


def meter(label: object, value: object, limit: object, share: float, tone: Tone) -> Markup:
    """A number within its limit."""
    percent = round(100 * min(1.0, max(0.0, share)))
    fill = tag("div", style=f"width:{percent}%;height:4px;background:{COLOUR[tone]};border-radius:2px")
    return td(
        tag("div", label, style=f"font-size:80%;{MUTE}"),
        tag("div", tag("b", value), " ", muted("/ ", limit), style="white-space:nowrap"),
        tag("div", fill, style=f"width:110px;height:4px;background:{LINE};border-radius:2px;margin-top:3px"),
        pad="0 18px 0 0",
    )


def progress(share: float, tone: Tone = Tone.WORKING) -> Markup:
    percent = round(100 * min(1.0, max(0.0, share)))
    fill = tag("div", style=f"width:{percent}%;height:6px;background:{COLOUR[tone]};border-radius:3px")
    return tag("div", fill, style=f"width:100%;height:6px;background:{LINE};border-radius:3px;margin:2px 0 10px")


def fold(summary: object, *children: object) -> Markup:
    """What is there but not in the way."""
    return tag("details", tag("summary", summary, style=MUTE), *children, style="margin-top:6px")


def hint(text: str, *, label: str = "next") -> Markup:
    """How to go on, as something that can be copied."""
    return tag("div", muted(label, " "), code(text), style="margin-top:8px")


def stack(*children: object) -> Markup:
    return tag("div", join(*children))
