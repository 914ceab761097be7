"""ModelAPI: a proxy with its configuration in a ConfigMap, or an engine that keeps its weights on a claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from kaos_ext.kube.objects import Object
from kaos_ext.model import names, podenv
from kaos_ext.model.names import Kind
from kaos_operator.documents import dump, load
from kaos_operator.render import pods
from kaos_operator.render.context import Context, Rendered, failed, unsupported
from kaos_operator.render.telemetry import exporter

NO_EFFECT_YET = ("spec.gatewayRoute", "spec.telemetry", "spec.proxyConfig.cassette")
MODELS_SIZE = "20Gi"
MODELS_PATH = "/root/.ollama"


def model_allowed(model: str, models: Iterable[str]) -> bool:
    """Whether a list of models covers one: `*`, the very name, or `prefix/*`."""
    return any(item in ("*", model) or (item.endswith("/*") and model.startswith(item[:-1])) for item in models)


def offered_models(modelapi: Object) -> list[str]:
    """The allow-list of a ModelAPI; a hosted one offers its model."""
    spec = modelapi["spec"]
    if spec.get("mode") == "Hosted":
        return [model] if (model := (spec.get("hostedConfig") or {}).get("model")) else []
    return list((spec.get("proxyConfig") or {}).get("models") or [])


def render_modelapi(resource: Object, context: Context) -> Rendered:
    """One Deployment, one Service, and the proxy's configuration or the engine's claim."""
    spec = resource["spec"]
    if spec.get("mode") == "Hosted":
        return _hosted(resource, context)
    if not (spec.get("proxyConfig") or {}).get("models"):
        return failed("Invalid", "spec.proxyConfig.models is required when spec.mode is Proxy")
    return _proxy(resource, context)


def _proxy(resource: Object, context: Context) -> Rendered:
    spec, name = resource["spec"], resource["metadata"]["name"]
    proxy = spec["proxyConfig"]
    own = proxy.get("configYaml") or {}
    text = own.get("fromString")
    if text is not None and (reason := _config_error(text, proxy["models"])):
        return failed("InvalidConfig", reason)
    children: list[Object] = []
    contents: dict[tuple[str, str], str] = {}
    if secret := own.get("fromSecretKeyRef"):
        volume: Object = {
            "name": "config",
            "secret": {
                "secretName": secret["name"],
                "items": [{"key": secret["key"], "path": names.MODEL_CONFIG_KEY}],
            },
        }
    else:
        config = pods.config_map(
            resource,
            names.model_config(name),
            {names.MODEL_CONFIG_KEY: text if text is not None else generated_config(resource, context)},
        )
        children.append(config)
        contents[("ConfigMap", names.model_config(name))] = pods.digest(config["data"])
        volume = {"name": "config", "configMap": {"name": names.model_config(name)}}

    container = {
        "name": Kind.MODELAPI.container,
        "image": context.settings.modelapi_image,
        "args": ["--config", f"{names.MODEL_CONFIG_PATH}/{names.MODEL_CONFIG_KEY}", "--port", str(names.HTTP_PORT)],
        "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "env": _proxy_env(resource, context),
        "volumeMounts": [{"name": "config", "mountPath": names.MODEL_CONFIG_PATH, "readOnly": True}],
    }
    container = pods.override(container, spec.get("container"))
    if container["image"] == context.settings.modelapi_image:
        container |= pods.probes(pods.http_get("/ready"), pods.http_get("/health"))
    else:
        # the published contract of a proxy image
        container |= pods.probes(pods.http_get("/health/liveliness"), pods.http_get("/health/liveliness"))
    pod: Object = {"enableServiceLinks": False, "containers": [container], "volumes": [volume]}
    children.append(pods.deployment(resource, pod, digests=context.digests, contents=contents))
    children.append(pods.service(resource))
    return Rendered(
        children,
        endpoint=names.endpoint(Kind.MODELAPI, name, resource["metadata"]["namespace"]),
        verdicts=unsupported(resource, NO_EFFECT_YET),
    )


def _proxy_env(resource: Object, context: Context) -> list[Object]:
    proxy = resource["spec"]["proxyConfig"]
    name = resource["metadata"]["name"]
    entries = pods.env({"MODEL_API_NAME": name, podenv.PROXY_API_BASE: proxy.get("apiBase")})
    key = proxy.get("apiKey") or {}
    if key.get("value") is not None:
        entries += pods.env({podenv.PROXY_API_KEY: key["value"]})
    elif key.get("valueFrom"):
        entries.append({"name": podenv.PROXY_API_KEY, "valueFrom": key["valueFrom"]})
    level = context.settings.log_level
    entries += pods.env({podenv.LOG_LEVEL: level, "LITELLM_LOG": "DEBUG" if level == "TRACE" else level})
    if endpoint := exporter(context.settings, resource["spec"].get("telemetry")):
        entries += pods.env(
            {
                "OTEL_EXPORTER": "otlp_grpc",
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_SERVICE_NAME": name,
                "OTEL_PYTHON_EXCLUDED_URLS": "/health",
            }
        )
    return entries


def generated_config(resource: Object, context: Context) -> str:
    """One entry per offered model; addresses and keys stay in the environment."""
    proxy = resource["spec"]["proxyConfig"]
    provider = proxy.get("provider")
    entries = []
    for model in proxy["models"]:
        parameters: dict[str, Any] = {"model": f"{provider}/{model}" if provider else model}
        if proxy.get("apiBase"):
            parameters["api_base"] = f"os.environ/{podenv.PROXY_API_BASE}"
        if proxy.get("apiKey"):
            parameters["api_key"] = f"os.environ/{podenv.PROXY_API_KEY}"
        entries.append({"model_name": model, "litellm_params": parameters})
    settings: dict[str, Any] = {"drop_params": True}
    if exporter(context.settings, resource["spec"].get("telemetry")):
        settings |= {"success_callback": ["otel"], "failure_callback": ["otel"]}
    return dump({"model_list": entries, "litellm_settings": settings})


def _config_error(text: str, models: list[str]) -> str:
    """Why the user's own configuration is not accepted, empty when it is."""
    try:
        document = load(text)
    except yaml.YAMLError as error:
        return f"spec.proxyConfig.configYaml is not YAML: {' '.join(str(error).split())}"
    if not isinstance(document, dict):
        return "spec.proxyConfig.configYaml is not a mapping"
    entries = document.get("model_list") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "spec.proxyConfig.configYaml: model_list is not a list of mappings"
    for entry in entries:
        model = str(entry.get("model_name") or "")
        if not model_allowed(model, models):
            return f'model "{model}" of spec.proxyConfig.configYaml is not in spec.proxyConfig.models ({models})'
    return ""


def _hosted(resource: Object, context: Context) -> Rendered:
    spec, name = resource["spec"], resource["metadata"]["name"]
    model = (spec.get("hostedConfig") or {}).get("model")
    if not model:
        return failed("Invalid", "spec.hostedConfig.model is required when spec.mode is Hosted")
    claim_name = names.model_store(name)
    keeps = context.storage or claim_name in context.claims
    volume: Object = {"name": "models", "emptyDir": {}}
    if keeps:
        volume = {"name": "models", "persistentVolumeClaim": {"claimName": claim_name}}
    mount = {"name": "models", "mountPath": MODELS_PATH}
    debug = {"DEBUG": "1", "TRACE": "2"}.get(context.settings.log_level)
    engine: Object = {
        "name": Kind.MODELAPI.container,
        "image": context.settings.ollama_image,
        "args": ["serve"],
        "ports": [{"name": "http", "containerPort": names.OLLAMA_PORT, "protocol": "TCP"}],
        "env": pods.env({"OLLAMA_HOST": f"0.0.0.0:{names.OLLAMA_PORT}", "OLLAMA_DEBUG": debug}),
        "volumeMounts": [mount],
        **pods.probes(pods.http_get("/"), pods.http_get("/")),
    }
    engine = pods.override(engine, spec.get("container"))
    pull: Object = {
        "name": "pull-model",
        "image": engine["image"],
        "command": ["/bin/sh", "-c"],
        # the server answers a few moments after its start; weights that are there already are not fetched again
        "args": ['ollama serve & until ollama list >/dev/null 2>&1; do sleep 0.2; done; ollama pull "$MODEL"'],
        "env": pods.merge_env(pods.env({"MODEL": model}), engine.get("env", [])),
        "volumeMounts": [mount],
    }
    pod: Object = {
        "enableServiceLinks": False,
        "initContainers": [pull],
        "containers": [engine],
        "volumes": [volume],
    }
    children = [pods.claim(resource, claim_name, MODELS_SIZE)] if keeps else []
    # the weights' claim may be held by one pod only
    children.append(pods.deployment(resource, pod, digests=context.digests, recreate=keeps))
    children.append(pods.service(resource, names.OLLAMA_PORT))
    return Rendered(
        children,
        endpoint=names.endpoint(Kind.MODELAPI, name, resource["metadata"]["namespace"], names.OLLAMA_PORT),
        verdicts=unsupported(resource, NO_EFFECT_YET),
    )
