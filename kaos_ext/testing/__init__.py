"""Notebooks as tests, and recorded iterations of agents as tests.

from kaos_ext.testing import replay

def test_iteration_7_still_goes_the_same_way() -> None:
    replay("tests/iteration-7.json").check()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaos_ext.testing.replaying import Diverged, Recording, Report, replay

__all__ = ["Diverged", "Recording", "Report", "replay"]


def __getattr__(name: str) -> Any:
    # pytest loads this package in every run, the loop only where an iteration is replayed.
    if name in __all__:
        from kaos_ext.testing import replaying

        return getattr(replaying, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
