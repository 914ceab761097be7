"""How often our server answers as a real Kubernetes 1.36.3 did."""

from __future__ import annotations

import pytest

from tests.apiserver.conftest import Running
from tests.apiserver.golden.replay import Replay

FLOOR = 93.5
"""Percent of the recorded pairs; what is missing is RBAC, CEL, quotas, and what controllers do."""


async def test_recorded_answers_are_answered_alike(running: Running, record_property: object) -> None:
    http = running.http
    share = await Replay(http.url, http.token, http.session, http.context).run()
    assert callable(record_property)
    record_property("golden", str(share))
    assert share.total > 400
    assert share.percent >= FLOOR, "\n".join([str(share), *share.misses])


if __name__ == "__main__":
    pytest.main([__file__])
