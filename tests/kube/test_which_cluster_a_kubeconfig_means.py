"""Kubeconfig files read as every client reads them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaos_ext.kube.kubeconfig import endpoint
from kaos_ext.model.errors import KaosError, NotFoundError, UnreachableError


def write(path: Path, current: str = "one", server: str = "https://one:6443", **user: Any) -> Path:
    document = {
        "current-context": current,
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": "ca.crt"}}],
        "users": [{"name": "u", "user": user or {"token": "secret"}}],
    }
    path.write_text(yaml.safe_dump(document))
    (path.parent / "ca.crt").write_text("the authority")
    return path


def test_the_current_context_gives_server_namespace_and_token(tmp_path: Path) -> None:
    found = endpoint(environ={"KUBECONFIG": str(write(tmp_path / "config"))})
    assert (found.server, found.context, found.namespace) == ("https://one:6443", "one", "team")
    assert (found.token, found.authority) == ("secret", "the authority")


def test_inline_certificates_win_over_files_and_files_lie_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "client.key").write_text("a key")
    inline = base64.b64encode(b"inline").decode()
    user = {"client-certificate-data": inline, "client-certificate": "missing.crt", "client-key": "client.key"}
    found = endpoint(environ={"KUBECONFIG": str(write(tmp_path / "config", **user))})
    assert (found.certificate, found.key) == ("inline", "a key")


def test_of_several_files_the_first_that_names_something_wins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = write(tmp_path / "a" / "config", server="https://first:1")
    second = write(tmp_path / "b" / "config", server="https://second:2")
    missing = tmp_path / "none"
    assert endpoint(environ={"KUBECONFIG": f"{missing}:{first}:{second}"}).server == "https://first:1"


def test_an_unknown_context_says_which_was_meant(tmp_path: Path) -> None:
    config = write(tmp_path / "config")
    with pytest.raises(NotFoundError, match="no context `oen`") as caught:
        endpoint("oen", str(config))
    assert "one" in caught.value.hint and caught.value.exit_status == 2


def test_no_kubeconfig_at_all_points_to_up(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        endpoint(environ={"KUBECONFIG": str(tmp_path / "none")})
    assert caught.value.hint == "kaos up"


@pytest.mark.parametrize(
    "text", ["{", "- a list", "a: [", "contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x"]
)
def test_a_broken_kubeconfig_is_an_error_with_a_hint(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KaosError) as caught:
        endpoint(kubeconfig=str(path))
    assert caught.value.hint


def test_a_process_in_a_pod_of_that_cluster_is_inside_and_elsewhere_is_not(tmp_path: Path) -> None:
    path = write(tmp_path / "config", server="https://10.0.0.1:443")
    pod = {"KUBECONFIG": str(path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert endpoint(environ=pod).inside
    assert not endpoint(environ={**pod, "KUBERNETES_SERVICE_HOST": "10.0.0.2"}).inside


def test_a_pod_of_our_node_agent_is_inside_by_the_context_it_was_given_and_by_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "config")
    text = path.read_text().replace("name: one", "name: pod")
    path.write_text(text.replace("current-context: one", "current-context: pod"))
    assert endpoint(environ={"KUBECONFIG": str(path), "KAOS_HOSTS": "/hosts"}).inside
    assert not endpoint(environ={"KUBECONFIG": str(path)}).inside
    other = write(tmp_path / "other")
    assert not endpoint(environ={"KUBECONFIG": str(other), "KAOS_HOSTS": "/hosts"}).inside


@pytest.mark.parametrize("plugin", ["exec", "auth-provider"])
def test_credentials_of_a_plugin_are_left_to_the_official_client(tmp_path: Path, plugin: str) -> None:
    found = endpoint(environ={"KUBECONFIG": str(write(tmp_path / "config", **{plugin: {"command": "x"}}))})
    assert found.plugin == plugin and not found.token


async def test_the_official_client_runs_the_plugin(tmp_path: Path) -> None:
    from kaos_ext.kube.plugins import resolve

    version = "client.authentication.k8s.io/v1"
    credential = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": "from-plugin"}})
    user = {"exec": {"apiVersion": version, "command": "echo", "args": [credential], "interactiveMode": "Never"}}
    path = write(tmp_path / "config", **user)
    found = await resolve(endpoint(kubeconfig=str(path)))
    assert found.token == "from-plugin"


async def test_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    from kaos_ext.kube.plugins import resolve

    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}}
    path = write(tmp_path / "config", **user)
    with pytest.raises(KaosError, match="exec credentials of context `one` failed"):
        await resolve(endpoint(kubeconfig=str(path)))
