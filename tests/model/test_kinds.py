"""The schemas of the kinds: structural, bounded, with the published defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from kaos_ext.model.kinds import Agent, ModelAPI
from kaos_ext.model.kinds.crds import render_crds
from kaos_ext.model.kinds.structural import structural_schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


def schema_of(kind: str) -> dict[str, Any]:
    (crd,) = [crd for crd in render_crds() if crd["spec"]["names"]["kind"] == kind]
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def at(kind: str, path: str) -> dict[str, Any]:
    return dict(nodes(schema_of(kind)))["." + path]


@pytest.mark.parametrize("kind", ["ModelAPI", "MCPServer", "Agent"])
def test_every_node_has_one_type_and_no_reference(kind: str) -> None:
    for path, node in nodes(schema_of(kind)):
        if node.get("x-kubernetes-int-or-string"):
            continue
        assert isinstance(node["type"], str), path
        assert not {"$ref", "anyOf", "allOf", "oneOf", "title", "nullable"} & node.keys(), path
        if node["type"] == "object" and not node.get("x-kubernetes-preserve-unknown-fields"):
            assert "properties" in node or "additionalProperties" in node or path.endswith("metadata"), path
        assert not ("properties" in node and "additionalProperties" in node), path


def test_bounds_and_defaults_are_the_published_ones() -> None:
    config = "spec.config"
    facts = {
        f"{config}.reasoningLoopMaxSteps": (5, 1, 20),
        f"{config}.autonomous.intervalSeconds": (0, 0, 3600),
        f"{config}.autonomous.maxIterRuntimeSeconds": (60, 0, 86400),
        f"{config}.taskConfig.maxIterations": (10, 0, 1000),
        f"{config}.taskConfig.maxRuntimeSeconds": (300, 0, 86400),
        f"{config}.taskConfig.maxToolCalls": (50, 0, 10000),
    }
    for path, fact in facts.items():
        node = at("Agent", path)
        assert (node["default"], node["minimum"], node["maximum"]) == fact, path
        assert (node["type"], node["format"]) == ("integer", "int32")
    assert at("Agent", "spec.waitForDependencies")["default"] is True
    assert at("Agent", f"{config}.toolCallMode") == {
        "type": "string",
        "enum": ["auto", "native", "string"],
        "default": "auto",
    }
    assert at("Agent", "spec")["required"] == ["modelAPI", "model"]
    assert at("ModelAPI", "spec.proxyConfig")["required"] == ["models"]
    assert at("ModelAPI", "spec.proxyConfig.models")["minItems"] == 1
    assert at("ModelAPI", "spec.mode")["enum"] == ["Proxy", "Hosted"]


def test_conditions_merge_by_type_so_that_several_writers_can_share_them() -> None:
    node = at("Agent", "status.conditions")
    assert (node["x-kubernetes-list-type"], node["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert node["items"]["properties"]["status"]["enum"] == ["True", "False", "Unknown"]


def test_a_pod_spec_is_open_and_the_crds_stay_small() -> None:
    assert at("Agent", "spec.podSpec")["x-kubernetes-preserve-unknown-fields"] is True
    assert all(len(str(crd)) < 40_000 for crd in render_crds())


def test_rules_stand_where_they_hold() -> None:
    rules = at("ModelAPI", "spec")["x-kubernetes-validations"]
    assert any("proxyConfig" in rule["rule"] for rule in rules)


def test_wire_names_are_camel_case_and_unknown_ones_are_refused() -> None:
    parsed = Agent.model_validate({"spec": {"modelAPI": "a", "model": "m", "config": {"autonomous": {"goal": "g"}}}})
    assert parsed.spec.config is not None
    assert parsed.spec.config.autonomous is not None
    assert parsed.spec.config.autonomous.max_iter_runtime_seconds == 60
    with pytest.raises(ValueError, match="modelApi"):
        Agent.model_validate({"spec": {"modelApi": "a", "modelAPI": "a", "model": "m"}})
    with pytest.raises(ValueError, match="Proxy"):
        ModelAPI.model_validate({"spec": {"mode": "proxy"}})


def test_what_cannot_be_structural_is_refused_when_it_is_rendered() -> None:
    class Loose(BaseModel):
        either: int | str

    with pytest.raises(ValueError, match="not structural"):
        structural_schema(Loose)
