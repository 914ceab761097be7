"""What is wrong with a field, in the words of a Kubernetes API server: a path, a reason, a message."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_MISSING = object()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of a 422; `reason` is the cause's reason (`FieldValueInvalid` and its like)."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def cause(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.path}


def shown(value: Any) -> str:
    """A value as a message shows it: JSON, as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") if text[:1] in "{[" else text


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {detail}")


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def not_supported(path: str, value: Any, supported: Sequence[Any]) -> FieldError:
    text = f"Unsupported value: {shown(value)}"
    if supported:
        text += ": supported values: " + ", ".join(shown(one) for one in supported)
    return FieldError(path, "FieldValueNotSupported", text)


def one_of(path: str, value: Any, allowed: Sequence[Any]) -> FieldError:
    """What is wrong with a value that is none of those allowed, or missing."""
    return not_supported(path, value, list(allowed)) if value else required(path)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueNotFound", f"Not found: {shown(value)}")


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


def joined(errors: Iterable[FieldError]) -> str:
    """All of them as one `Status.message` lists them: bare when alone, else once each in brackets."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
