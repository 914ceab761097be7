"""Quantities (`500m`, `1Gi`): their canonical form and their value."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([numkMGTPE]?|[KMGTPE]i|[eE][+-]?\d+)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
MALFORMED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class QuantityError(ValueError):
    """Not a quantity."""


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Fraction, str]:
    """The value and its format: decimal, binary or exponent."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise QuantityError(MALFORMED)
    number, suffix = Fraction(found[1]), found[2]
    if suffix in _BINARY:
        return number * 1024 ** _BINARY[suffix], "binary"
    if suffix in _DECIMAL:
        return number * Fraction(10) ** _DECIMAL[suffix], "decimal"
    return number * Fraction(10) ** int(suffix[1:]), "exponent"


def value(text: str | int | float) -> Fraction:
    return parse(str(text))[0]


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """As the API writes it: no fraction, the largest suffix that allows that."""
    amount, form = parse(text)
    if amount == 0:
        return "0"
    if form == "binary" and amount.denominator == 1 and abs(amount) >= 1024:
        whole, power = int(amount), 0
        while whole % 1024 == 0 and power < 6:
            whole //= 1024
            power += 1
        return f"{whole}{next((name for name, at in _BINARY.items() if at == power), '')}"
    nano = amount * 10**9
    whole = -((-nano.numerator) // nano.denominator) if amount > 0 else nano.numerator // nano.denominator
    power = -9
    while whole % 1000 == 0 and power < 18:
        whole //= 1000
        power += 3
    if form == "exponent":
        return f"{whole}e{power}" if power else str(whole)
    return f"{whole}{next(name for name, at in _DECIMAL.items() if at == power)}"
