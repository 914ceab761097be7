"""The CustomResourceDefinitions, rendered from the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from kaos_ext.model.kinds import agent, mcpserver, modelapi
from kaos_ext.model.kinds.structural import Rules, structural_schema
from kaos_ext.model.names import GROUP, VERSION, Kind

Column = tuple[str, str, str]
"""Name, type, JSON path."""

READY: Column = ("Ready", "boolean", ".status.ready")
PHASE: Column = ("Phase", "string", ".status.phase")
WIDE: tuple[Column, ...] = (("Message", "string", ".status.message"),)
AGE: Column = ("Age", "date", ".metadata.creationTimestamp")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CustomResourceDefinition says beside its schema."""

    kind: Kind
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    model: type[BaseModel]
    rules: Rules


DEFINITIONS = (
    Definition(
        Kind.MODELAPI,
        ("api", "apis"),
        (("Mode", "string", ".spec.mode"), READY, PHASE),
        modelapi.ModelAPI,
        modelapi.RULES,
    ),
    Definition(
        Kind.MCPSERVER,
        ("mcp", "mcps"),
        (("Runtime", "string", ".spec.runtime"), READY, PHASE),
        mcpserver.MCPServer,
        mcpserver.RULES,
    ),
    Definition(
        Kind.AGENT,
        ("agent", "agents"),
        (
            ("ModelAPI", "string", ".spec.modelAPI"),
            ("Model", "string", ".spec.model"),
            READY,
            PHASE,
            ("Loop", "string", ".status.loop.state"),
            ("Iteration", "integer", ".status.loop.iteration"),
        ),
        agent.Agent,
        agent.RULES,
    ),
)


def render_crds() -> list[dict[str, Any]]:
    """All CustomResourceDefinitions of the group, in the order they are installed."""
    return [_crd(definition) for definition in DEFINITIONS]


def _crd(definition: Definition) -> dict[str, Any]:
    kind = definition.kind
    schema = structural_schema(definition.model, definition.rules)
    schema["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **schema["properties"],
    }
    columns: list[dict[str, Any]] = [
        {"name": name, "type": type_, "jsonPath": path} for name, type_, path in definition.columns
    ]
    columns += [{"name": name, "type": type_, "jsonPath": path, "priority": 1} for name, type_, path in WIDE]
    columns.append(dict(zip(("name", "type", "jsonPath"), AGE, strict=True)))
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.value,
                "listKind": f"{kind.value}List",
                "plural": kind.plural,
                "singular": kind.value.lower(),
                "shortNames": list(definition.short_names),
                "categories": ["kaos"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }
