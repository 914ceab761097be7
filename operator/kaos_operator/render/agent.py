"""Agent: waits for its ModelAPI and MCP servers, then one Deployment, its Service, and what a loop needs.

A loop's events lie on a claim that outlives pods; its pods never overlap (Recreate); its control file is a mounted
ConfigMap, so that suspending needs no new pod.
"""

from __future__ import annotations

import json

from kaos_ext.kube.objects import Object
from kaos_ext.model import names, podenv
from kaos_ext.model.budget import Budget, PriceUnknownError
from kaos_ext.model.names import Kind
from kaos_operator.render import pods
from kaos_operator.render.context import Context, Rendered, Verdict, failed, unsupported
from kaos_operator.render.dependencies import Dependencies, resolve
from kaos_operator.render.identity import identity
from kaos_operator.render.telemetry import telemetry_env

NO_EFFECT_YET = (
    "spec.gatewayRoute",
    "spec.config.memory.memoryStore",
    "spec.config.memory.scope",
    "spec.config.memory.defaultReadScope",
    "spec.config.memory.readScopes",
    "spec.config.memory.maxReadScope",
    "spec.config.memory.clientParams",
    "spec.config.memory.tools",
    "spec.config.memory.failureMode",
)
STATE_SIZE = "1Gi"
RUNTIME_GROUP = 65532
"""Group of the runtime images' user: a fresh claim must be writable for it."""


def loops(resource: Object) -> bool:
    """Whether the agent has a goal of its own."""
    autonomous = (resource["spec"].get("config") or {}).get("autonomous") or {}
    return bool((autonomous.get("goal") or "").strip())


def keeps_state(resource: Object) -> bool:
    """Whether what the agent did must outlive its pod: loops go on, budgets stay spent, approvals stay asked."""
    config = resource["spec"].get("config") or {}
    return loops(resource) or bool(config.get("budget")) or bool(config.get("approvals"))


def exposed(resource: Object) -> bool:
    return bool((resource["spec"].get("agentNetwork") or {}).get("expose", True))


def render_agent(resource: Object, context: Context) -> Rendered:
    """The children, or Waiting for dependencies, or Failed for a model that is not offered."""
    dependencies = resolve(resource, context)
    verdicts = (*dependencies.verdicts, *_ignored(resource))
    if dependencies.refusal:
        return failed("ModelNotAllowed", dependencies.refusal, *verdicts)
    try:
        Budget.from_json((resource["spec"].get("config") or {}).get("budget") or {}).check(resource["spec"]["model"])
    except PriceUnknownError as error:
        return failed(error.reason, f"{error}: {error.hint}", *verdicts)
    if dependencies.blocks:
        return Rendered(None, "Waiting", dependencies.waiting, linked=dependencies.linked, verdicts=verdicts)
    children, durable = _children(resource, context, dependencies)
    metadata = resource["metadata"]
    return Rendered(
        children,
        "Waiting" if dependencies.waiting else None,
        dependencies.waiting,
        endpoint=names.endpoint(Kind.AGENT, metadata["name"], metadata["namespace"]) if exposed(resource) else None,
        linked=dependencies.linked,
        verdicts=(*verdicts, *durable),
    )


def _ignored(resource: Object) -> tuple[Verdict, ...]:
    memory = (resource["spec"].get("config") or {}).get("memory") or {}
    usual = {"type": "local"}
    unusual = tuple(f"spec.config.memory.{key}" for key, value in usual.items() if memory.get(key, value) != value)
    return unsupported(resource, NO_EFFECT_YET + unusual)


def _children(
    resource: Object, context: Context, dependencies: Dependencies
) -> tuple[list[Object], tuple[Verdict, ...]]:
    spec, name = resource["spec"], resource["metadata"]["name"]
    container: Object = {
        "name": Kind.AGENT.container,
        "image": context.settings.agent_image,
        "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "env": pods.env(_env(resource, context, dependencies)),
        **pods.probes(pods.http_get("/ready"), pods.http_get("/health")),
    }
    pod: Object = {"enableServiceLinks": False, "containers": [container]}
    children: list[Object] = []
    durable: tuple[Verdict, ...] = ()
    followed: frozenset[tuple[str, str]] = frozenset()
    if keeps_state(resource):
        control, claim = names.agent_control(name), names.agent_state(name)
        children.append(pods.config_map(resource, control, {names.CONTROL_KEY: _wishes(resource)}))
        children += identity(resource)
        pod["serviceAccountName"] = names.agent_account(name)
        followed = frozenset({("ConfigMap", control)})
        keeps = context.storage or claim in context.claims
        state: Object = {"name": "state", "emptyDir": {}}
        if keeps:
            children.append(pods.claim(resource, claim, STATE_SIZE))
            state = {"name": "state", "persistentVolumeClaim": {"claimName": claim}}
            pod["securityContext"] = {"fsGroup": RUNTIME_GROUP}
        pod["volumes"] = [state, {"name": "control", "configMap": {"name": control}}]
        container["volumeMounts"] = [
            {"name": "state", "mountPath": names.STATE_PATH},
            {"name": "control", "mountPath": names.CONTROL_PATH, "readOnly": True},
        ]
        container["env"] += pods.env(
            {
                podenv.AGENT_STATE_DIR: names.STATE_PATH,
                podenv.AGENT_CONTROL_FILE: f"{names.CONTROL_PATH}/{names.CONTROL_KEY}",
                podenv.AGENT_REPORTS_STATUS: "true",
            }
        )
        durable = (_durable(keeps, claim),)
    pod["containers"] = [pods.override(container, spec.get("container"))]
    children.append(
        pods.deployment(resource, pod, digests=context.digests, followed=followed, recreate=keeps_state(resource))
    )
    if exposed(resource):
        children.append(pods.service(resource))
    return children, durable


def _wishes(resource: Object) -> str:
    """What the owner wants of the loop, as the agent reads it."""
    autonomous = (resource["spec"].get("config") or {}).get("autonomous") or {}
    notes = resource["metadata"].get("annotations") or {}
    suspend: bool | str = bool(autonomous.get("suspend", False))
    if suspend and notes.get(names.SUSPEND_AFTER) == "iteration":
        suspend = "afterIteration"
    wishes: Object = {"suspend": suspend}
    if notes.get(names.RUN_NOW):
        wishes["runNow"] = notes[names.RUN_NOW]
    return json.dumps(wishes)


def _durable(keeps: bool, claim: str) -> Verdict:
    if keeps:
        return Verdict("Durable", True, "PersistentVolumeClaim", f"events are kept on the claim {claim}")
    return Verdict(
        "Durable", False, "NoStorageClass", "no default storage class: events are lost when the pod is replaced"
    )


def _env(resource: Object, context: Context, dependencies: Dependencies) -> dict[str, str | None]:
    spec, metadata = resource["spec"], resource["metadata"]
    config = spec.get("config") or {}
    memory, task = config.get("memory") or {}, config.get("taskConfig") or {}
    values: dict[str, str | None] = {
        podenv.AGENT_NAME: metadata["name"],
        podenv.POD_NAMESPACE: metadata["namespace"],
        podenv.AGENT_DESCRIPTION: config.get("description"),
        podenv.AGENT_INSTRUCTIONS: config.get("instructions"),
        podenv.AGENT_SYSTEM_PROMPT: config.get("systemPrompt"),
        podenv.MODEL_API_URL: dependencies.model_url,
        podenv.MODEL_NAME: spec["model"],
        podenv.AGENTIC_LOOP_MAX_STEPS: _text(config.get("reasoningLoopMaxSteps")),
        podenv.TOOL_CALL_MODE: config.get("toolCallMode"),
        podenv.MEMORY_ENABLED: _text(memory.get("enabled")),
        podenv.MEMORY_TYPE: memory.get("type"),
        podenv.MEMORY_CONTEXT_LIMIT: _text(memory.get("contextLimit")),
        podenv.MEMORY_MAX_SESSIONS: _text(memory.get("maxSessions")),
        podenv.MEMORY_MAX_SESSION_EVENTS: _text(memory.get("maxSessionEvents")),
        podenv.TASK_MAX_ITERATIONS: _text(task.get("maxIterations")),
        podenv.TASK_MAX_RUNTIME_SECONDS: _text(task.get("maxRuntimeSeconds")),
        podenv.TASK_MAX_TOOL_CALLS: _text(task.get("maxToolCalls")),
    }
    for variable, part in ((podenv.AGENT_BUDGET, "budget"), (podenv.AGENT_APPROVALS, "approvals")):
        if config.get(part):
            values[variable] = json.dumps(config[part], sort_keys=True)
    if loops(resource):
        autonomous = config["autonomous"]
        values |= {
            podenv.AUTONOMOUS_GOAL: autonomous["goal"],
            podenv.AUTONOMOUS_INTERVAL_SECONDS: _text(autonomous.get("intervalSeconds")),
            podenv.AUTONOMOUS_MAX_ITER_RUNTIME_SECONDS: _text(autonomous.get("maxIterRuntimeSeconds")),
        }
    if dependencies.tool_urls:
        values[podenv.MCP_SERVERS] = ",".join(sorted(dependencies.tool_urls))
        values |= {podenv.mcp_server_url(name): url for name, url in sorted(dependencies.tool_urls.items())}
    if dependencies.peer_urls:
        values[podenv.PEER_AGENTS] = ",".join(dependencies.peer_urls)
        values |= {podenv.peer_card_url(name): url for name, url in dependencies.peer_urls.items()}
    return values | telemetry_env(resource, context.settings, config.get("telemetry"))


def _text(value: object) -> str | None:
    """A number or a truth as the environment writes it."""
    if value is None:
        return None
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
