"""docs/compatibility.md says what the code does: fields without effect, and verbs that are there or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kaos_operator.render import agent, mcpserver, modelapi

from kaos_ext.commands.grammar import find_verb

PAGE = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
MEMORY = {"spec.config.memory.type"}
FIELDS = {
    "Agent": set(agent.NO_EFFECT_YET) | MEMORY,
    "ModelAPI": set(modelapi.NO_EFFECT_YET),
    "MCPServer": {*mcpserver.NO_EFFECT_YET, "spec.params"},
}


@pytest.mark.parametrize("kind", FIELDS)
def test_the_fields_without_effect_are_those_that_the_operator_tells_of(kind: str) -> None:
    _, _, rest = PAGE.partition("## Accepted, without effect yet")
    row = next(line for line in rest.splitlines() if line.startswith(f"| {kind} |"))
    assert set(re.findall(r"`(spec\.[\w.]+)`", row)) == FIELDS[kind]


def test_verbs_said_to_be_missing_are_missing_and_the_others_are_there() -> None:
    there, _, missing = PAGE.partition("## Not there")
    for verb in ("ui", "system create-rbac", "agent init", "mcp init"):
        assert f"kaos {verb}" in missing and find_verb(verb.split()) is None
    assert "`a2a send`" in there
    for verb in ("agent a2a send", "agent memory", "mcp invoke", "modelapi logs", "system runtimes", "samples list"):
        assert find_verb(verb.split()) is not None
