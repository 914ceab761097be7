"""MCPServer: one Deployment and one Service of a runtime from the registry, or of the user's own container."""

from __future__ import annotations

import warnings

from kaos_ext.kube.objects import Object
from kaos_ext.model import names, podenv
from kaos_ext.model.names import Kind
from kaos_operator.registry import CUSTOM, Runtime
from kaos_operator.render import pods
from kaos_operator.render.context import Context, Rendered, failed, unsupported
from kaos_operator.render.telemetry import telemetry_env

NO_EFFECT_YET = ("spec.gatewayRoute", "spec.telemetry")


def render_mcpserver(resource: Object, context: Context) -> Rendered:
    """The children, or Failed with the reason: an unknown runtime, a missing image or setting, source that is wrong."""
    spec = resource["spec"]
    name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
    container_spec = spec.get("container") or {}
    if spec["runtime"] == CUSTOM:
        if not container_spec.get("image"):
            return failed("NoImage", "runtime custom needs spec.container.image")
        runtime = Runtime(type=CUSTOM)
    elif context.registry_error:
        return failed("InvalidRegistry", f"ConfigMap {names.MCP_RUNTIMES}: {context.registry_error}")
    elif spec["runtime"] not in context.runtimes:
        known = ", ".join(sorted({*context.runtimes, CUSTOM}))
        return failed("UnknownRuntime", f'unknown runtime "{spec["runtime"]}"; known runtimes are {known}')
    else:
        runtime = context.runtimes[spec["runtime"]]
        if not (runtime.image or container_spec.get("image")):
            return failed("NoImage", f'runtime "{spec["runtime"]}" has no image in the registry')
    params = spec.get("params")
    if runtime.params_env == podenv.MCP_TOOLS_STRING and (reason := source_error(params or "")):
        return failed("InvalidSource", reason)

    values = telemetry_env(resource, context.settings, spec.get("telemetry"))
    if runtime.params_env and params is not None:
        values[runtime.params_env] = params
    container: Object = {
        "name": Kind.MCPSERVER.container,
        "image": runtime.image,
        "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "env": pods.env({"MCP_SERVER_NAME": name, podenv.POD_NAMESPACE: namespace, **values}),
    }
    if runtime.command:
        container["command"] = runtime.command
    if runtime.args:
        container["args"] = runtime.args
    container = pods.override(container, container_spec)
    present = {entry["name"] for entry in container.get("env", [])}
    if missing := [variable for variable in runtime.required_env if variable not in present]:
        return failed("MissingEnv", f'runtime "{spec["runtime"]}" needs {", ".join(missing)} in spec.container.env')

    ready = pods.tcp()
    if runtime.readiness_path and container["image"] == runtime.image:
        ready = pods.http_get(runtime.readiness_path)
    container |= pods.probes(ready, pods.tcp())
    pod: Object = {"enableServiceLinks": False, "containers": [container]}
    if spec.get("serviceAccountName"):
        pod["serviceAccountName"] = spec["serviceAccountName"]
    ignored = ("spec.params",) if params and not runtime.params_env and runtime.type != CUSTOM else ()
    endpoint = names.endpoint(Kind.MCPSERVER, name, namespace)
    return Rendered(
        [pods.deployment(resource, pod, digests=context.digests), pods.service(resource)],
        endpoint=endpoint,
        verdicts=unsupported(resource, NO_EFFECT_YET + ignored),
        tools_url=f"{endpoint}/mcp",
    )


def source_error(source: str) -> str:
    """Why Python source cannot be a tool server: the line and what the compiler says; empty when it can."""
    if not source.strip():
        return "spec.params is empty: it holds the Python source of the tools"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<spec.params>", "exec", dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or "").strip()
        return f"spec.params does not compile: line {error.lineno}: {error.msg}" + (f": {text}" if text else "")
    except (ValueError, RecursionError, MemoryError) as error:
        return f"spec.params does not compile: {error or type(error).__name__}"
    return ""
