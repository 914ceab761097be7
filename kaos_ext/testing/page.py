"""Is the page that the executed notebook makes whole? Rendered by nbconvert in both themes, without the network.

widgets     whose state is not saved ("model not found"), or that a page could only draw with scripts of a CDN
addresses   any script, style, picture or frame that would be fetched
raw reprs   `<… object at 0x…>`: somebody forgot what people see
colours     a text colour without a background of its own that cannot be read in one of the themes
"""

from __future__ import annotations

import re
from typing import Any

from kaos_ext.testing.bundles import WIDGET
from kaos_ext.testing.findings import Finding, Verdict

BROKEN = ("Error displaying widget", "model not found", "Error creating widget", "Javascript Error")
_REPR = re.compile(r"<[\w.]+(?: [\w.]+)*? at 0x[0-9a-fA-F]{6,}>")
_FETCHED = re.compile(
    r"""<(?:script|img|iframe|link|source|video|audio|embed)\b[^>]*?\b(?:src|href)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|@import\s+(?:url\()?["']?((?:https?:)?//[^"')\s]+)|\burl\(["']?((?:https?:)?//[^"')\s]+)"""
    r"""|\b(?:import\s*\(?|from)\s*["']((?:https?:)?//[^"']+)""",
    re.IGNORECASE,
)
_STYLE = re.compile(r"""\bstyle\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_COLOUR = re.compile(r"(?:^|;)\s*color\s*:\s*(#[0-9a-fA-F]{3,6}\b|black|white)")
THEMES = {"light": (255, 255, 255), "dark": (17, 17, 17)}
LEAST_CONTRAST = 2.0


def check_page(notebook: Any, pages: dict[str, str]) -> list[Finding]:
    """What is not whole: first cell by cell, then of the pages (theme → html) what no cell accounts for."""
    found = [
        Finding(Verdict.PAGE, cause, index, cell.get("id", ""))
        for index, cell in enumerate(notebook.cells)
        for cause in dict.fromkeys(_of_cell(cell, _models(notebook)))
    ]
    told = " ".join(finding.cause for finding in found)
    for theme, page in pages.items():
        signs = [sign for sign in BROKEN if sign in page and sign not in told]
        found += [Finding(Verdict.PAGE, f"the {theme} page says {sign!r}") for sign in signs]
        for address in dict.fromkeys(_fetched(page)):
            if address not in told:
                told += address
                found.append(Finding(Verdict.PAGE, f"the {theme} page fetches {address}"))
    return found


def render(notebook: Any) -> dict[str, str]:
    """The page in each theme, with no address in it that is nbconvert's own."""
    from nbconvert import HTMLExporter

    pages = {}
    for theme in THEMES:
        exporter = HTMLExporter(theme=theme, require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="")
        exporter.sanitize_html = False
        pages[theme], _ = exporter.from_notebook_node(notebook)
    return {theme: _without_empty_scripts(page) for theme, page in pages.items()}


def _without_empty_scripts(page: str) -> str:
    return re.sub(r'<script src=""></script>', "", page)


def _models(notebook: Any) -> frozenset[str]:
    saved = (notebook.metadata.get("widgets") or {}).get("application/vnd.jupyter.widget-state+json") or {}
    return frozenset(saved.get("state") or {})


def _of_cell(cell: Any, models: frozenset[str]) -> list[str]:
    causes = []
    if cell.cell_type == "markdown":
        return [f"it fetches {address}" for address in _fetched(cell.source)]
    for output in cell.get("outputs", ()):
        data = dict(output.get("data", {}))
        plain, html = (_text(data.get(kind, "")) for kind in ("text/plain", "text/html"))
        plain = plain or (output.text if output.output_type == "stream" else "")
        # Beside html, nobody is shown the plain text of a widget or a view.
        causes += [f"it shows a raw repr: {match}" for match in _REPR.findall(html or plain)]
        causes += [f"it says {sign!r}" for sign in BROKEN if sign in html]
        causes += [f"it fetches {address}" for address in _fetched(html + _text(data.get("text/markdown", "")))]
        causes += _unreadable(html)
        if WIDGET in data and data[WIDGET].get("model_id") not in models:
            causes.append("its widget has no saved state: a page says 'model not found'")
    return causes


def _fetched(html: str) -> list[str]:
    return [next(group for group in match if group) for match in _FETCHED.findall(html)]


def _unreadable(html: str) -> list[str]:
    causes = []
    for quoted in _STYLE.findall(html):
        style = "".join(quoted)
        colour = _COLOUR.search(style)
        if colour is None or re.search(r"\bbackground(?:-color)?\s*:\s*(?!none|transparent)", style):
            continue
        for theme, background in THEMES.items():
            if contrast(_rgb(colour[1]), background) < LEAST_CONTRAST:
                causes.append(f"its text of colour {colour[1]} cannot be read in the {theme} theme")
    return causes


def _rgb(colour: str) -> tuple[int, int, int]:
    digits = {"black": "000000", "white": "ffffff"}.get(colour, colour.lstrip("#"))
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits.ljust(6, "0")
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Of two colours, 1 (the same) to 21 (black on white), by WCAG 2."""
    bright, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)
