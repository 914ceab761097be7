"""Functions that Kubernetes adds to CEL, or that the evaluator sees otherwise: plain Python over plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kaos_ext.cluster.apiserver.schema.quantities import QuantityError
from kaos_ext.cluster.apiserver.schema.quantities import value as amount_of

_QUANTITY = "\x00quantity:"
"""Marks a string that stands for a quantity; the evaluator knows no such type."""


def find_pattern(text: str, pattern: str) -> bool:
    return _compiled(pattern).search(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\(\?P?<(\w+)>", r"(?P<\1>", pattern), re.ASCII)


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [one[0] for one in _compiled(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found[0] if found else ""


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not by:
        return list(text) if limit < 0 else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(by, limit - 1 if limit > 0 else -1)


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ValueError("index out of range")
    return text[start:stop]


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise ValueError("index out of range")
    return text[at : at + 1]


def _index_of(where: Any, what: Any, start: int = 0) -> int:
    if isinstance(where, str):
        return where.find(what, start)
    return where.index(what) if what in where else -1


def _last_index_of(where: Any, what: Any, end: int | None = None) -> int:
    if isinstance(where, str):
        return where.rfind(what, 0, None if end is None else end + len(what))
    return len(where) - 1 - where[::-1].index(what) if what in where else -1


def _joined(items: Iterable[str], by: str = "") -> str:
    return by.join(items)


def _format(text: str, values: list[Any]) -> str:
    given = iter(values)

    def one(found: re.Match[str]) -> str:
        form = found[0]
        if form == "%%":
            return "%"
        value = next(given)
        if form[-1] == "s":
            return shown(value)
        return (form % value) if form[-1] in "dxXof e".replace(" ", "") else format(value, "b")

    return re.sub(r"%%|%(?:\.\d+)?[sdxXobfe]", one, text)


def shown(value: Any) -> str:
    """A value as CEL's `string()` writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return "[" + ", ".join(shown(one) for one in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _sum(items: list[Any]) -> Any:
    return sum(items) if items else 0


def _is_sorted(items: list[Any]) -> bool:
    return all(one <= other for one, other in pairwise(items))


# ---- quantities, addresses, URLs


def _quantity(text: str) -> str:
    return f"{_QUANTITY}{amount_of(text)}"


def _number(value: Any) -> Fraction:
    return Fraction(value.removeprefix(_QUANTITY)) if isinstance(value, str) else Fraction(value)


def _is_quantity(text: str) -> bool:
    try:
        amount_of(text)
    except QuantityError:
        return False
    return True


def _add(one: Any, other: Any) -> str:
    return f"{_QUANTITY}{_number(one) + _number(other)}"


def _sub(one: Any, other: Any) -> str:
    return f"{_QUANTITY}{_number(one) - _number(other)}"


def _compare(one: Any, other: Any) -> int:
    left, right = _number(one), _number(other)
    return (left > right) - (left < right)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and (parts.netloc or parts.path.startswith("/"))) or text.startswith("/")
    except ValueError:
        return False


def _url(text: str) -> str:
    if not _is_url(text):
        raise ValueError(f'parse "{text}": invalid URI for request')
    return text


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _ip(text: str) -> str:
    found = _address(text)
    if found is None:
        raise ValueError(f'IP Address "{text}" parse error')
    return str(found)


def _is_cidr(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def _cidr(text: str) -> str:
    if not _is_cidr(text):
        raise ValueError(f'network address parse error during conversion from string: "{text}"')
    return text


def _optional_field(value: Any, key: Any) -> Any:
    from kaos_ext.cluster.apiserver.cel.evaluator import optional

    if hasattr(value, "has_value"):
        if not value.has_value():
            return value
        value = value.value()
    if isinstance(value, list):
        present = isinstance(key, int) and 0 <= key < len(value)
    else:
        present = isinstance(value, dict) and key in value
    return optional(value[key]) if present else optional()


def _keys(value: Any) -> list[Any]:
    return list(range(len(value))) if isinstance(value, list) else list(value)


def _flattened(items: list[Any]) -> list[Any]:
    return [one for item in items for one in (item if isinstance(item, list) else [item])]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sizeOf": len,
    "matchesPattern": find_pattern,
    "optionalField": _optional_field,
    "keysOf": _keys,
    "setsContains": lambda one, other: all(each in one for each in other),
    "setsIntersects": lambda one, other: any(each in one for each in other),
    "setsEquivalent": lambda one, other: all(each in one for each in other) and all(each in other for each in one),
    "find": _find,
    "findAll": _find_all,
    "split": _split,
    "replace": _replace,
    "substring": _substring,
    "charAt": _char_at,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "join": _joined,
    "format": _format,
    "lowerAscii": lambda text: "".join(one.lower() if one.isascii() else one for one in text),
    "upperAscii": lambda text: "".join(one.upper() if one.isascii() else one for one in text),
    "trim": str.strip,
    "reverse": lambda value: value[::-1],
    "sum": _sum,
    "min": lambda *items: min(items[0] if len(items) == 1 else items),
    "max": lambda *items: max(items[0] if len(items) == 1 else items),
    "isSorted": _is_sorted,
    "sort": sorted,
    "distinct": lambda items: [one for at, one in enumerate(items) if one not in items[:at]],
    "flatten": _flattened,
    "quantity": _quantity,
    "isQuantity": _is_quantity,
    "add": _add,
    "sub": _sub,
    "compareTo": _compare,
    "isGreaterThan": lambda one, other: _compare(one, other) > 0,
    "isLessThan": lambda one, other: _compare(one, other) < 0,
    "sign": lambda one: _compare(one, 0),
    "asInteger": lambda one: int(_number(one)),
    "isInteger": lambda one: _number(one).denominator == 1,
    "asApproximateFloat": lambda one: float(_number(one)),
    "url": _url,
    "isURL": _is_url,
    "getScheme": lambda url: urlsplit(url).scheme,
    "getHost": _host,
    "getHostname": lambda url: urlsplit(url).hostname or "",
    "getPort": lambda url: str(urlsplit(url).port or ""),
    "getEscapedPath": lambda url: urlsplit(url).path,
    "getQuery": lambda url: parse_qs(urlsplit(url).query, keep_blank_values=True),
    "ip": _ip,
    "isIP": lambda text: _address(text) is not None,
    "family": lambda text: ip_address(text).version,
    "isLoopback": lambda text: ip_address(text).is_loopback,
    "isUnspecified": lambda text: ip_address(text).is_unspecified,
    "isGlobalUnicast": lambda text: not (ip_address(text).is_multicast or ip_address(text).is_unspecified),
    "cidr": _cidr,
    "isCIDR": _is_cidr,
    "containsIP": lambda net, text: ip_address(text) in ip_network(net, strict=False),
    "containsCIDR": lambda net, other: _within(net, other),
    "prefixLength": lambda net: ip_network(net, strict=False).prefixlen,
    "masked": lambda net: str(ip_network(net, strict=False)),
}


def _within(net: str, other: str) -> bool:
    inner, outer = ip_network(other, strict=False), ip_network(net, strict=False)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
