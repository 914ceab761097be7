"""Names and images clients rely on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaos_ext.model import images, names
from kaos_ext.model.names import Kind


def test_children_and_endpoints_have_the_published_names() -> None:
    assert [names.child(kind, "x") for kind in Kind] == ["modelapi-x", "mcpserver-x", "agent-x"]
    assert [kind.plural for kind in Kind] == ["modelapis", "mcpservers", "agents"]
    assert names.labels(Kind.MCPSERVER, "x") == {"app": "mcpserver", "mcpserver": "x"}
    assert names.endpoint(Kind.AGENT, "x", "ns") == "http://agent-x.ns.svc.cluster.local:8000"
    assert names.model_config("x") == "litellm-config-x"


def test_every_image_of_ours_can_run_as_a_process() -> None:
    table = images.node_images()["images"]
    for image in (images.AGENT, images.MCP_PYTHON_STRING, images.MODELAPI, images.OPERATOR):
        assert table[image.rsplit(":", 1)[0]]["command"][:2] == ["{python}", "-m"]
    with pytest.raises(ValueError, match="no image 'nginx'"):
        images.image("nginx")


def test_every_image_has_a_stage_that_runs_the_same_program_as_the_node_does() -> None:
    text = (Path(__file__).parents[2] / "operator/images/Dockerfile").read_text()
    stages = dict(
        re.findall(r'^FROM base AS (\S+)\n(?:EXPOSE \d+\n)?ENTRYPOINT \["python", "-m", "(\S+)"\]', text, re.M)
    )
    assert stages == images.MODULES
