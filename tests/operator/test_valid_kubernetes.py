"""What the operator writes is valid by the published schemas of the real API; unknown fields are refused."""

from __future__ import annotations

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kaos_operator.install import install_objects
from kaos_operator.render import desired_children
from kaos_operator.samples import sample_names, sample_objects

from kaos_ext.kube.objects import Object

VERSION = kubernetes_validate.latest_version()


def check(objects: list[Object]) -> None:
    assert objects
    for object_ in objects:
        kubernetes_validate.validate(object_, VERSION, strict=True)


def test_children_of_an_agent_that_loops(agent: Any, world: Any) -> None:
    check(
        desired_children(
            agent(
                mcpServers=["auto-echo"],
                config={"instructions": "i", "autonomous": {"goal": "g", "intervalSeconds": 1}},
                container={"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            ),
            world(),
        )
    )


def test_children_of_model_apis(modelapi: Any, hosted: Object, world: Any) -> None:
    key = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    check(desired_children(modelapi(apiBase="http://up", apiKey=key), world()))
    check(desired_children(modelapi(configYaml={"fromSecretKeyRef": {"name": "s", "key": "k"}}), world()))
    check(desired_children(hosted, world()))
    check(desired_children(hosted, world(storage=False)))


@pytest.mark.parametrize("runtime", ["python-string", "kubernetes"])
def test_children_of_mcp_servers(mcpserver: Any, world: Any, runtime: str) -> None:
    check(desired_children(mcpserver(runtime=runtime, serviceAccountName="sa"), world()))


def test_an_installation() -> None:
    check(install_objects())


@pytest.mark.parametrize("name", sample_names())
def test_the_built_in_kinds_of_samples(name: str) -> None:
    check([object_ for object_ in sample_objects(name) if not object_["apiVersion"].startswith("kaos.tools/")])


def test_this_check_can_fail(modelapi: Any, world: Any) -> None:
    (deployment,) = [c for c in desired_children(modelapi(), world()) if c["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        check([deployment])
