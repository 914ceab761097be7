"""How often our server answers as a real Kubernetes 1.36.3 did."""

from __future__ import annotations

import pytest

from tests.apiserver.conftest import Running
from tests.apiserver.golden.replay import Replay

FLOOR = 98.8
"""Percent of the recorded pairs. Missing: two that controllers make, addresses on loopback (ours are), one hash."""


async def test_recorded_answers_are_answered_alike(running: Running, record_property: object) -> None:
    http = running.http
    share = await Replay(http.url, http.token, http.session, http.context).run()
    assert callable(record_property)
    record_property("golden", str(share))
    assert share.total > 400
    assert share.percent >= FLOOR, "\n".join([str(share), *share.misses])


if __name__ == "__main__":
    pytest.main([__file__])
