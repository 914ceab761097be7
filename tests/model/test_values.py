"""A value with one thing changed is a new one; the old stays as it was."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kaos_ext.model.values import changed


@dataclass(frozen=True)
class Point:
    x: int = 0
    y: int = 0


def test_only_what_is_named_changes_and_only_in_the_copy() -> None:
    old = Point(1, 2)
    assert changed(old, y=3) == Point(1, 3) and old == Point(1, 2)
    assert hash(changed(old, y=2)) == hash(old)


def test_a_field_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        changed(Point(), z=1)  # type: ignore[call-arg]
