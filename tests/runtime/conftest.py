from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.processes import Processes


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()


@pytest.fixture(scope="module")
def machine() -> Iterator[Processes]:
    """The same for all tests of a file."""
    started = Processes()
    yield started
    started.close()
