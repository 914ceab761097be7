"""Made-up requests find no error of the server's own, no hang, and leave the store intact."""

from __future__ import annotations

import json
import os
import random

import aiohttp
import pytest

from tests.conformance.embedded import embedded_async
from tests.conformance.fuzz import Fuzz
from tests.conformance.load import Remote


@pytest.mark.process
async def test_two_thousand_made_up_requests_find_no_fault() -> None:
    await fuzzed(2_000)


@pytest.mark.proof
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_made_up_requests_find_no_fault() -> None:
    await fuzzed(100_000)


async def fuzzed(requests: int) -> None:
    seed = int(os.environ.get("KAOS_SEED") or random.randrange(2**32))
    print(f"KAOS_SEED={seed}")
    async with embedded_async() as config, aiohttp.ClientSession() as session:
        remote = Remote.of(config.root, config.server, session)
        await remote.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
        fuzz = Fuzz(remote, random.Random(seed))
        await fuzz.learn()
        await fuzz.run(requests)
        print(dict(sorted(fuzz.statuses.items())))
        log = config.log_file.read_text()
        assert not fuzz.wrong, "\n".join(fuzz.wrong)
        assert "Traceback" not in log, log[log.index("Traceback") :][:3000]
        # the store is intact: every collection is listed, and what is listed can be read alone
        status, made = await remote.ask("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "last"}})
        assert status == 201, made
        for operation in fuzz.operations:
            if operation.method == "GET" and "{" not in operation.path and operation.path.count("/") > 2:
                status, listed = await remote.ask("GET", operation.path)
                assert status == 200, (operation.path, listed)
                json.dumps(listed)
        assert fuzz.statuses.get(200, 0) + fuzz.statuses.get(201, 0) > requests / 20
