"""JSON by msgspec, several times as fast as the standard library's, which is asked where msgspec refuses.

Every step of the loop reads two or three bodies and writes a dozen small values. What msgspec does not take (numbers of
any size, half a surrogate pair, `NaN` in an answer) is as rare as it is fine by the standard library, and so by us.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_slow = json.JSONEncoder(ensure_ascii=False, default=str).encode


def decoded(text: bytes) -> Any:
    """The value of a JSON text, with `�` for bytes that are no UTF-8; ValueError when it is none."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return json.loads(text)
        except UnicodeDecodeError:
            return json.loads(text.decode("utf-8", "replace"))


def encoded(value: Any) -> bytes:
    """The JSON text of a value; what JSON has no form for is written as its `str`.

    UnicodeEncodeError when there is half a surrogate pair in it, which is JSON and no text.
    """
    try:
        return _encode(value)
    except (TypeError, OverflowError):
        return _slow(value).encode()


def sendable(value: Any) -> bytes:
    """The same for a request: whatever came as JSON can be sent as JSON."""
    try:
        return encoded(value)
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode()
