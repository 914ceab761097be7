"""Values that came from Secrets: how they are known, and how they are kept out of everything that is written."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

SECRET_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)($|_)", re.IGNORECASE)
SECRET_VARIABLES = "KAOS_SECRET_VARIABLES"
"""Comma list of variables whose values came from Secrets; names that look like secrets are taken as such anyway."""
SECRET_LENGTH = 6
"""Shorter values are not redacted: they would blot out ordinary text."""
REDACTED = "[redacted]"


def secret_values(env: Mapping[str, str]) -> frozenset[str]:
    """Values that must never be written down."""
    named = {name.strip() for name in env.get(SECRET_VARIABLES, "").split(",")}
    found = {value for name, value in env.items() if name in named or _looks_secret(name)}
    return frozenset(value for value in found if len(value) >= SECRET_LENGTH)


def _looks_secret(name: str) -> bool:
    return name != SECRET_VARIABLES and SECRET_NAME.search(name) is not None


class Redactor:
    """Takes secret values out of text and of JSON values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first, so that a secret that contains another is replaced whole.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def value(self, value: Any) -> Any:
        if not self._secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


class RedactingFormatter(logging.Formatter):
    """Log lines, tracebacks included, without secret values."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._redactor = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))
