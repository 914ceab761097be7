"""A node that leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kaos_ext.cluster.node.processes import marked
from kaos_ext.cluster.node.supervisor_client import stop_node

from .fake_client import FakeClient
from .harness import FORKED, IMAGES, Node


@pytest.fixture
async def node(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    client = FakeClient()
    forks = getattr(request, "param", "exec") == "fork"
    node = Node(tmp_path, client, FORKED if forks else IMAGES)
    try:
        await node.agent.start()
        yield node
    finally:
        await node.agent.stop()
        await stop_node(node.config.root, grace=0.2)
    if sys.platform.startswith("linux"):
        assert list(marked(node.config.root)) == []
