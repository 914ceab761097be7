"""The requests of everyday kubectl, as a real cluster was asked them, are answered here as they were there.

Two kubectls, an older and the newest: where the newer asks otherwise, both ways must work.
"""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from tests.conformance.embedded import IMAGES, embedded_async
from tests.conformance.kubectl_http.replay import Replay, records
from tests.conformance.load import Remote

DATA = Path(__file__).parent / "kubectl_http" / "data"
KNOWN = {"logs {pod} --previous": "400 here: no container has run before this one; the recorded cluster's had"}


@pytest.mark.process
@pytest.mark.parametrize("version", ["1.32", "1.36"])
async def test_what_kubectl_asks_is_answered_as_a_real_cluster_answers(version: str) -> None:
    recorded = records(DATA / f"kubectl-{version}.jsonl.gz")
    images = {**IMAGES, "busybox": {"command": [], "args": ["true"]}}
    async with embedded_async(images) as config, aiohttp.ClientSession() as session:
        replay = Replay(Remote.of(config.root, config.server, session))
        found = await replay.run(recorded)
    assert len(found) == 82, "all commands of the recording but those that stream into a pod"
    wrong = {name: differences for name, differences in found.items() if differences and name not in KNOWN}
    assert wrong == {}
    jobs = [one for one in replay.skipped if re.search(r": (j\d|d2)-", one)]
    assert replay.skipped == jobs, "only pods of Jobs, whose controller is not there, and one that a drain made"
