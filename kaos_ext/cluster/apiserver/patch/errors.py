"""A patch that cannot be applied."""

from __future__ import annotations


class PatchError(Exception):
    """`code` and `message` are the answer's; `detail` says what was wrong where the real server does not."""

    def __init__(self, code: int, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail
