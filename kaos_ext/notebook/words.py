"""The words of a magic line.

Quotes and backslashes as in a shell; `$NAME` and `{name}` stand for a variable of the notebook or, for `$NAME`, of the
environment. They are looked up after splitting, so a value with spaces, quotes or lines stays one word; single quotes
keep a text as it is, `$$` and `{{name}}` give the signs themselves. An unknown name is an error, never an empty text.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from kaos_ext.model.errors import UsageError

_NAME = re.compile(
    r"\$\$|\$(?P<dollar>[A-Za-z_]\w*)|\$\{(?P<braced>[A-Za-z_]\w*)\}"
    r"|\{\{(?P<kept>[A-Za-z_]\w*)\}\}|\{(?P<brace>[A-Za-z_]\w*)\}"
)


def split(line: str, variables: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The words of `line`, and whether it ends with `;` (which silences the result)."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    pending = ""  # text of the current word in which names still have to be looked up
    index = 0
    text = line.strip()
    silent = text.endswith(";") and not text.endswith("\\;") and _closed(text[:-1])
    text = text[:-1] if silent else text
    while index < len(text):
        char = text[index]
        index += 1
        if quote:
            if char == quote:
                word = (word or "") + (pending if quote == "'" else expand(pending, variables))
                quote = pending = ""
            elif char == "\\" and quote == '"' and text[index : index + 1] in ('"', "\\", "$"):
                following = text[index]
                pending += "$$" if following == "$" else following
                index += 1
            else:
                pending += char
        elif char in "'\"":
            word = (word or "") + expand(pending, variables)
            quote, pending = char, ""
        elif char == "\\" and index < len(text):
            word = (word or "") + expand(pending, variables) + text[index]
            pending = ""
            index += 1
        elif char.isspace():
            if word is not None or pending:
                words.append((word or "") + expand(pending, variables))
            word, pending = None, ""
        else:
            pending += char
    if quote:
        raise UsageError(f"the quote {quote} is not closed", hint="close it, or write it as \\" + quote)
    if word is not None or pending:
        words.append((word or "") + expand(pending, variables))
    return words, silent


def expand(text: str, variables: Mapping[str, Any]) -> str:
    """`text` with its `$NAME` and `{name}` looked up."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match["kept"]:
            return "{" + match["kept"] + "}"
        name = match["dollar"] or match["braced"] or match["brace"]
        if name in variables:
            return _written(variables[name])
        if not match["brace"] and name in os.environ:
            return os.environ[name]
        keep = f"{{{{{name}}}}}" if match["brace"] else f"$${name}"
        raise UsageError(
            f"there is no variable {name} in this notebook", hint=f"to keep the text as it is, write {keep}"
        )

    return _NAME.sub(value, text)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple) or value is None or isinstance(value, bool):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _closed(text: str) -> bool:
    """Whether no quote is open at the end of `text`."""
    quote = ""
    escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return not quote
