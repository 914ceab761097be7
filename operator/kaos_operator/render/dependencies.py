"""What an Agent refers to, and whether it can start: its ModelAPI, its MCP servers, its peers.

A dependency that is not ready holds back an agent that does not run yet. One that runs goes on being kept in step; its
phase says `Waiting` for as long as a dependency does not serve. Peers are never waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaos_ext.kube.objects import Object
from kaos_ext.model import names
from kaos_ext.model.names import Kind
from kaos_operator.render.context import Context, Verdict
from kaos_operator.render.modelapi import model_allowed, offered_models


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Everything an Agent refers to, as it is now."""

    waiting: str = ""
    """What is waited for, as a sentence; empty when nothing is."""
    blocks: bool = False
    refusal: str = ""
    model_url: str = ""
    tool_urls: Mapping[str, str] = field(default_factory=dict)
    peer_urls: Mapping[str, str] = field(default_factory=dict)
    linked: Mapping[str, str] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()


def resolve(resource: Object, context: Context) -> Dependencies:
    """Look every reference up."""
    spec, namespace = resource["spec"], resource["metadata"]["namespace"]
    patient = bool(spec.get("waitForDependencies", True))
    modelapi = context.modelapi(spec["modelAPI"])
    linked = {"modelapi": spec["modelAPI"]} if modelapi else {}
    if modelapi is None:
        message = f"ModelAPI {spec['modelAPI']} not found"
        return Dependencies(message, True, verdicts=(_not_ready("ModelAPINotFound", message),))
    models = offered_models(modelapi)
    if not model_allowed(spec["model"], models):
        refusal = (
            f'model "{spec["model"]}" not supported by ModelAPI "{spec["modelAPI"]}" (supported: [{" ".join(models)}])'
        )
        return Dependencies(refusal=refusal, linked=linked, verdicts=(_not_ready("ModelNotAllowed", refusal),))

    waits: list[tuple[str, str]] = []
    if patient and not _ready(modelapi):
        waits.append(("ModelAPINotReady", "ModelAPI is not ready" + _reason(modelapi)))
    absent = False
    tool_urls: dict[str, str] = {}
    for name in spec.get("mcpServers") or []:
        server = context.mcpserver(name)
        if server is None:
            absent = True
            waits.append(("MCPServerNotFound", f"MCPServer {name} not found"))
            continue
        tool_urls[name] = _endpoint(server) or names.endpoint(Kind.MCPSERVER, name, namespace)
        if patient and not _ready(server):
            waits.append(("MCPServerNotReady", f"MCPServer {name} is not ready" + _reason(server)))

    port = names.OLLAMA_PORT if modelapi["spec"].get("mode") == "Hosted" else names.HTTP_PORT
    peers, missing = _peers(resource, context)
    return Dependencies(
        waiting=waits[0][1] if waits else "",
        blocks=absent or (bool(waits) and context.deployment is None),
        model_url=_endpoint(modelapi) or names.endpoint(Kind.MODELAPI, spec["modelAPI"], namespace, port),
        tool_urls=tool_urls,
        peer_urls=peers,
        linked=linked,
        verdicts=(*_verdicts(waits), *_peer_verdicts(peers, missing)),
    )


def references(agent: Object) -> set[tuple[Kind, str]]:
    """Resources whose changes matter to an Agent."""
    spec = agent.get("spec") or {}
    found = {(Kind.MODELAPI, spec.get("modelAPI", ""))}
    found |= {(Kind.MCPSERVER, name) for name in spec.get("mcpServers") or []}
    found |= {(Kind.AGENT, name) for name in (spec.get("agentNetwork") or {}).get("access") or []}
    return found


def _peers(resource: Object, context: Context) -> tuple[dict[str, str], list[str]]:
    urls: dict[str, str] = {}
    missing: list[str] = []
    for name in (resource["spec"].get("agentNetwork") or {}).get("access") or []:
        peer = context.agent(name)
        if peer is not None and (url := _endpoint(peer)):
            urls[name] = url
        else:
            missing.append(name)
    return urls, missing


def _ready(resource: Object) -> bool:
    return bool((resource.get("status") or {}).get("ready"))


def _endpoint(resource: Object) -> str:
    return str((resource.get("status") or {}).get("endpoint") or "")


def _reason(resource: Object) -> str:
    status = resource.get("status") or {}
    return f": {status['message']}" if status.get("phase") == "Failed" and status.get("message") else ""


def _not_ready(reason: str, message: str) -> Verdict:
    return Verdict("DependenciesReady", False, reason, message)


def _verdicts(waits: list[tuple[str, str]]) -> tuple[Verdict, ...]:
    if not waits:
        return (Verdict("DependenciesReady", True, "DependenciesReady", "ModelAPI and MCP servers are ready"),)
    return (_not_ready(waits[0][0], "; ".join(message for _, message in waits)),)


def _peer_verdicts(peers: Mapping[str, str], missing: list[str]) -> tuple[Verdict, ...]:
    if missing:
        return (Verdict("PeersResolved", False, "PeersMissing", f"not reachable (yet): {', '.join(missing)}"),)
    if peers:
        return (Verdict("PeersResolved", True, "PeersResolved", f"wired: {', '.join(peers)}"),)
    return ()
