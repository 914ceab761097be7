from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.runtime.processes import Processes


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()
