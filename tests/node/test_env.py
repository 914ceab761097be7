"""A container's environment, by Kubernetes' rules."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kaos_ext.cluster.node.env import (
    ContainerConfigError,
    PathRewriter,
    References,
    container_env,
    expand,
    service_env,
)
from kaos_ext.kube.objects import Object

POD: Object = {
    "metadata": {"name": "p", "namespace": "team", "uid": "u1", "labels": {"app": "x"}, "annotations": {"a": 'q"'}},
    "spec": {"serviceAccountName": "robot", "containers": []},
}
CONFIG = {"data": {"KEY": "value", "not a name": "x"}}
SECRET = {"data": {"PASSWORD": base64.b64encode(b"s3cret").decode()}}


def env(container: dict[str, Any], **options: Any) -> dict[str, str]:
    references = References({"c": CONFIG, "gone": None}, {"s": SECRET, "gone": None})
    defaults: dict[str, Any] = {"base": {"PATH": "/bin"}, "services": {}, "facts": {"status.podIP": "127.1.2.3"}}
    values, _ = container_env(
        POD, container, references=references, capacity={"cpu": "4", "memory": "8Gi"}, **(defaults | options)
    )
    return values


def field(path: str) -> dict[str, Any]:
    return {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/$(B)", "1/2"),
        ("$$(A)", "$(A)"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$$$(A)", "$1"),
    ],
)
def test_references_to_variables_expand_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


def test_a_variable_may_refer_only_to_those_before_it() -> None:
    values = env({"env": [{"name": "A", "value": "$(B)"}, {"name": "B", "value": "b"}, {"name": "C", "value": "$(B)"}]})
    assert (values["A"], values["C"]) == ("$(B)", "b")


def test_later_sources_win_image_then_services_then_env_from_then_env() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "env": [{"name": "LAST", "value": "env"}],
    }
    values = env(container, base={"KEY": "image", "LAST": "image"}, services={"KEY": "service", "LAST": "service"})
    assert (values["KEY"], values["LAST"]) == ("value", "env")


def test_env_from_takes_a_prefix_and_skips_keys_that_are_no_names() -> None:
    values = env({"envFrom": [{"configMapRef": {"name": "c"}, "prefix": "P_"}, {"secretRef": {"name": "s"}}]})
    assert values["P_KEY"] == "value"
    assert values["PASSWORD"] == "s3cret"
    assert not any(" " in name for name in values)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "team"),
        ("metadata.uid", "u1"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['none']", ""),
        ("metadata.annotations", 'a="q\\""'),
        ("spec.serviceAccountName", "robot"),
        ("status.podIP", "127.1.2.3"),
    ],
)
def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert env(field(path))["X"] == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "8192"),
        ({"resource": "requests.memory"}, "1024"),
    ],
)
def test_resources_in_units_of_the_divisor_and_the_nodes_where_no_limit_is(
    reference: dict[str, str], expected: str
) -> None:
    container = {
        "resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "1Ki"}},
        "env": [{"name": "X", "valueFrom": {"resourceFieldRef": reference}}],
    }
    assert env(container)["X"] == expected


def test_what_is_missing_is_an_error_that_names_it_unless_it_is_optional() -> None:
    missing = {"configMapKeyRef": {"name": "gone", "key": "K"}}
    with pytest.raises(ContainerConfigError, match='configmap "gone" not found'):
        env({"env": [{"name": "X", "valueFrom": missing}]})
    with pytest.raises(ContainerConfigError, match="couldn't find key K in ConfigMap team/c"):
        env({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "K"}}}]})
    with pytest.raises(ContainerConfigError, match='secret "gone" not found'):
        env({"envFrom": [{"secretRef": {"name": "gone"}}]})
    missing["configMapKeyRef"]["optional"] = True  # type: ignore[assignment]
    assert "X" not in env({"env": [{"name": "X", "valueFrom": missing}]})


def test_values_of_secrets_are_known_as_such() -> None:
    container = {
        "envFrom": [{"secretRef": {"name": "s"}}],
        "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASSWORD"}}}],
    }
    _, secret = container_env(
        POD,
        container,
        base={},
        services={},
        references=References({}, {"s": SECRET}),
        facts={},
        capacity={},
    )
    assert secret == {"PASSWORD", "T"}


def test_services_of_the_namespace_and_never_the_api_server() -> None:
    def service(name: str, namespace: str, address: str = "127.9.0.10") -> Object:
        spec = {"clusterIP": address, "ports": [{"port": 8000, "name": "http"}]}
        return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}

    everyone = [service("my-api", "default"), service("other", "else"), service("kubernetes", "default")]
    values = service_env([*everyone, service("headless", "default", "None")], "default")
    assert values["MY_API_SERVICE_HOST"] == "127.9.0.10"
    assert values["MY_API_SERVICE_PORT"] == values["MY_API_SERVICE_PORT_HTTP"] == "8000"
    assert values["MY_API_PORT_8000_TCP"] == "tcp://127.9.0.10:8000"
    assert {name.split("_")[0] for name in values} == {"MY"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/root/data"),
        ("/data/file.txt", "/root/data/file.txt"),
        ("--path=/data:/etc/x/y", "--path=/root/data:/root/etc/x/y"),
        ("/database", "/database"),
        ("/other/data", "/other/data"),
        ("http://host/data", "http://host/data"),
        ("file:///data/a", "file:///root/data/a"),
        ("sqlite:////data/a.db", "sqlite:////root/data/a.db"),
        ("open('/data/x')", "open('/root/data/x')"),
    ],
)
def test_mount_paths_are_rewritten_where_they_stand_as_paths(text: str, expected: str) -> None:
    assert PathRewriter("/root", ["/data", "/etc/x/"])(text) == expected
