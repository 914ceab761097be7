"""Kubernetes quantities (`500m`, `2Gi`) as exact numbers."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def parse_quantity(text: str | int | float) -> Decimal:
    value = str(text)
    for length in (2, 1):
        suffix = value[-length:]
        if suffix in _SUFFIXES and len(value) > length:
            return Decimal(value[:-length]) * _SUFFIXES[suffix]
    return Decimal(value)


def divided(quantity: str | int | float, divisor: str | int | float) -> str:
    """What a resourceFieldRef shows: the quantity in units of the divisor, rounded up."""
    unit = parse_quantity(divisor)
    return str(int((parse_quantity(quantity) / (unit or Decimal(1))).to_integral_value(ROUND_CEILING)))
