"""What a ModelAPI and an MCPServer become."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from kaos_operator.registry import RegistryError, parse_registry
from kaos_operator.render import desired_children, render


def config(children: Any, of: Any) -> Any:
    return yaml.safe_load(of.find(children, "ConfigMap")["data"]["config.yaml"])


def test_a_proxy_has_a_configuration_a_deployment_and_a_service(modelapi: Any, world: Any) -> None:
    children = desired_children(modelapi(), world())
    assert [(child["kind"], child["metadata"]["name"]) for child in children] == [
        ("ConfigMap", "litellm-config-auto-api"),
        ("Deployment", "modelapi-auto-api"),
        ("Service", "modelapi-auto-api"),
    ]


def test_the_proxys_configuration_leaves_address_and_key_in_the_environment(modelapi: Any, world: Any, of: Any) -> None:
    reference = {"secretKeyRef": {"name": "keys", "key": "openai"}}
    resource = modelapi(
        models=["gpt-4o", "*"],
        provider="openai",
        apiBase="http://up/v1",
        apiKey={"valueFrom": reference},
    )
    children = desired_children(resource, world())
    parameters = {"api_base": "os.environ/PROXY_API_BASE", "api_key": "os.environ/PROXY_API_KEY"}
    assert config(children, of) == {
        "model_list": [
            {"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", **parameters}},
            {"model_name": "*", "litellm_params": {"model": "openai/*", **parameters}},
        ],
        "litellm_settings": {"drop_params": True},
    }
    env = of.environment(children)
    assert (env["PROXY_API_BASE"], env["PROXY_API_KEY"]) == ("http://up/v1", reference)


def test_a_proxy_without_address_and_key_claims_neither(modelapi: Any, world: Any, of: Any) -> None:
    children = desired_children(modelapi(), world())
    assert config(children, of)["model_list"] == [{"model_name": "*", "litellm_params": {"model": "*"}}]
    assert not {"PROXY_API_BASE", "PROXY_API_KEY"} & of.environment(children).keys()


def test_another_configuration_is_another_pod(modelapi: Any, world: Any, of: Any) -> None:
    one, two = (
        of.find(desired_children(modelapi(models=models), world()), "Deployment")["spec"]["template"]
        for models in (["a"], ["a", "b"])
    )
    assert one != two


def test_an_own_configuration_is_taken_as_it_is(modelapi: Any, world: Any, of: Any) -> None:
    text = "model_list:\n- model_name: gpt-4o\n  litellm_params: {model: x/y}\n"
    children = desired_children(modelapi(models=["gpt-4o"], configYaml={"fromString": text}), world())
    assert of.find(children, "ConfigMap")["data"] == {"config.yaml": text}


def test_an_own_configuration_may_lie_in_a_secret(modelapi: Any, world: Any, of: Any) -> None:
    source = {"fromSecretKeyRef": {"name": "proxy", "key": "litellm"}}
    children = desired_children(modelapi(configYaml=source), world())
    assert {child["kind"] for child in children} == {"Deployment", "Service"}
    secret = {"secretName": "proxy", "items": [{"key": "litellm", "path": "config.yaml"}]}
    assert of.pod(children)["volumes"] == [{"name": "config", "secret": secret}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model_list: [", "is not YAML"),
        ("- a", "is not a mapping"),
        ("model_list: [{model_name: other}]", 'model "other"'),
        ("model_list: {a: b}", "not a list of mappings"),
    ],
)
def test_an_own_configuration_that_is_wrong_fails_with_the_reason(
    modelapi: Any, world: Any, text: str, reason: str
) -> None:
    rendered = render(modelapi(models=["gpt-4o"], configYaml={"fromString": text}), world())
    assert rendered.phase == "Failed"
    assert reason in rendered.message


def test_a_hosted_model_is_pulled_once_and_kept_on_a_claim(hosted: Any, world: Any, of: Any) -> None:
    rendered = render(hosted, world())
    assert rendered.endpoint == "http://modelapi-local.demo.svc.cluster.local:11434"
    assert of.find(rendered.children, "PersistentVolumeClaim")
    (pull,) = of.pod(rendered.children)["initContainers"]
    assert pull["name"] == "pull-model"
    assert {"name": "MODEL", "value": "smollm2:135m"} in pull["env"]


def test_a_python_string_server_gets_its_source_exactly(mcpserver: Any, world: Any, of: Any) -> None:
    source = 'def echo(message: str) -> str:\n """Echo the {message} "back"."""\n return f"Echo: {message}"'
    rendered = render(mcpserver(params=source), world())
    assert of.environment(rendered.children)["MCP_TOOLS_STRING"] == source
    assert [child["metadata"]["name"] for child in rendered.children or []] == ["mcpserver-auto-echo"] * 2
    assert rendered.endpoint == "http://mcpserver-auto-echo.demo.svc.cluster.local:8000"


def test_source_that_does_not_compile_fails_with_line_and_reason(mcpserver: Any, world: Any) -> None:
    rendered = render(mcpserver(params="import math\n\ndef broken(:\n  pass\n"), world())
    assert rendered.phase == "Failed"
    assert "line 3" in rendered.message
    assert "def broken(:" in rendered.message
    assert rendered.children is None


@pytest.mark.parametrize("source", ["", "  \n", "a = 'x\0y'", "(" * 5000])
def test_source_that_is_no_source_fails_and_never_raises(mcpserver: Any, world: Any, source: str) -> None:
    assert render(mcpserver(params=source), world()).phase == "Failed"


def test_compiling_the_source_does_not_run_it(mcpserver: Any, world: Any) -> None:
    assert render(mcpserver(params="raise SystemExit(3)"), world()).phase is None


def test_an_unknown_runtime_fails_naming_it_and_the_known_ones(mcpserver: Any, world: Any) -> None:
    rendered = render(mcpserver(runtime="pyton"), world())
    assert rendered.phase == "Failed"
    assert 'unknown runtime "pyton"' in rendered.message
    assert "custom, kubernetes, python-string, slack" in rendered.message


def test_a_custom_server_needs_an_image(mcpserver: Any, world: Any, of: Any) -> None:
    assert render(mcpserver(runtime="custom"), world()).phase == "Failed"
    children = desired_children(mcpserver(runtime="custom", container={"image": "mine:1"}), world())
    container = of.pod(children)["containers"][0]
    assert container["image"] == "mine:1"
    assert "tcpSocket" in container["readinessProbe"]


def test_variables_a_runtime_needs_are_asked_for(mcpserver: Any, world: Any) -> None:
    rendered = render(mcpserver(runtime="slack"), world())
    assert (rendered.phase, "SLACK_BOT_TOKEN" in rendered.message) == ("Failed", True)
    env = [{"name": "SLACK_BOT_TOKEN", "value": "t"}, {"name": "SLACK_TEAM_ID", "value": "i"}]
    assert render(mcpserver(runtime="slack", container={"env": env}), world()).phase is None


def test_parameters_a_runtime_does_not_take_are_named(mcpserver: Any, world: Any) -> None:
    rendered = render(
        mcpserver(runtime="kubernetes", params="allowedNamespaces: [a]", serviceAccountName="sa"), world()
    )
    (verdict,) = [v for v in rendered.verdicts if v.type == "Unsupported"]
    assert "spec.params" in verdict.message
    deployment = (rendered.children or [])[0]
    assert deployment["spec"]["template"]["spec"]["serviceAccountName"] == "sa"


def test_entries_of_the_registry_are_read_and_wrong_ones_are_explained() -> None:
    text = "runtimes:\n  mine: {image: 'a:1', args: [--port, 8000], paramsEnvVar: P}\n"
    runtime = parse_registry({"runtimes.yaml": text})["mine"]
    assert (runtime.image, runtime.args, runtime.params_env) == ("a:1", ["--port", "8000"], "P")
    for wrong in ("runtimes: [", "a: b", "runtimes: {x: 1}", "runtimes: {x: {args: one}}"):
        with pytest.raises(RegistryError):
            parse_registry({"runtimes.yaml": wrong})
