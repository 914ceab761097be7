"""apply, samples, and the operator on any cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kaos_ext.commands.manifests import documents
from kaos_ext.kube.objects import ApiError
from kaos_ext.kube.transport import Request
from kaos_ext.model.errors import KaosError, UsageError
from tests.commands.conftest import GROUP, Machine
from tests.kube.fake import FakeResponse, status

AGENT = "apiVersion: kaos.tools/v1alpha1\nkind: Agent\nmetadata: {name: a}\nspec: {modelAPI: m, model: g}\n"
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: there}\ndata: {a: b}\n"


async def test_every_document_is_applied_where_it_says_or_in_the_namespace_of_the_context(
    machine: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "both.yaml"
    file.write_text(f"{AGENT}---\n---\n{CONFIG}")
    result = await machine.kaos(f"apply -f {file}")
    assert result.view.text() == "✅ Applied Agent a, ConfigMap c"
    assert f"{GROUP}/agents/a" in machine.cluster.objects
    assert "/api/v1/namespaces/there/configmaps/c" in machine.cluster.objects
    assert [request.params.get("dryRun") for request in machine.cluster.writes] == ["All", "All", None, None]


async def test_one_bad_document_of_several_changes_nothing_and_names_path_and_reason(machine: Machine) -> None:
    causes = [{"field": "spec.config.reasoningLoopMaxSteps", "message": "should be less than or equal to 20"}]

    def refuse(request: Request) -> FakeResponse | None:
        bad = request.method == "PATCH" and request.path.endswith("/agents/a")
        return status(422, "Invalid", 'Agent "a" is invalid', causes=causes) if bad else None

    machine.cluster.refuse = refuse
    before = set(machine.cluster.objects)
    with pytest.raises(ApiError, match="Agent a was refused") as caught:
        await machine.kaos("apply", body=f"{CONFIG}---\n{AGENT}")
    assert caught.value.causes == causes and set(machine.cluster.objects) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1 is not YAML"),
        ("- x", "document 1 is not an object but list"),
        ("kind: Agent", "has no apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "has no metadata.name"),
        ("", "holds no objects"),
        (AGENT.replace("Agent", "Agnet"), "no kind Agnet"),
    ],
)
async def test_what_is_no_object_is_refused_saying_where(machine: Machine, text: str, said: str) -> None:
    with pytest.raises(KaosError, match=said) as caught:
        await machine.kaos("apply", body=text)
    assert caught.value.hint and machine.cluster.writes == []


async def test_an_unknown_kind_is_answered_with_the_nearest(machine: Machine) -> None:
    with pytest.raises(KaosError) as caught:
        await machine.kaos("apply", body=AGENT.replace("Agent", "Agnet"))
    assert caught.value.hint == "did you mean Agent?" and caught.value.exit_status == 2
    machine.cluster.installed = False
    with pytest.raises(KaosError, match="does not have KAOS installed"):
        await machine.kaos("apply", body=AGENT)


async def test_apply_without_a_file_is_a_wrong_command(machine: Machine) -> None:
    with pytest.raises(UsageError, match="needs -f FILE"):
        await machine.kaos("apply")
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read"):
        await machine.kaos("apply -f none.yaml")


def test_a_list_is_its_items() -> None:
    listed = yaml.safe_dump({"kind": "List", "items": [yaml.safe_load(AGENT), yaml.safe_load(CONFIG)]})
    assert [item["kind"] for item in documents(listed, "x")] == ["Agent", "ConfigMap"]


async def test_a_sample_goes_into_the_namespace_it_brings_or_the_one_that_is_asked_for(machine: Machine) -> None:
    assert any(sample["name"] == "6-autonomous-monitor" for sample in (await machine.kaos("samples list")).data)
    await machine.kaos("samples deploy 6-autonomous-monitor --modelapi mine -m g")
    folder = "/apis/kaos.tools/v1alpha1/namespaces/kaos-autonomous"
    agent = machine.cluster.objects[f"{folder}/agents/cluster-monitor"]
    assert (agent["spec"]["modelAPI"], agent["spec"]["model"]) == ("mine", "g")
    assert "/api/v1/namespaces/kaos-autonomous" in machine.cluster.objects
    assert not any("/modelapis/" in path for path in machine.cluster.objects)
    await machine.kaos("-n here samples deploy 6-autonomous-monitor --base-url http://x --api-secret k:t -m g")
    assert f"{GROUP}/agents/cluster-monitor" in machine.cluster.objects
    assert machine.stored("ModelAPI", "monitor-modelapi")["spec"]["proxyConfig"]["apiBase"] == "http://x"
    subjects = [
        item["subjects"] for path, item in machine.cluster.objects.items() if "/namespaces/here/rolebindings/" in path
    ]
    assert subjects[0][0]["namespace"] == "here"
    result = await machine.kaos("-n here samples delete 6-autonomous-monitor")
    assert "Agent cluster-monitor" in result.data["deleted"]
    assert not any(path.startswith(GROUP) for path in machine.cluster.objects)


async def test_a_sample_that_is_not_there_is_answered_with_the_nearest(machine: Machine) -> None:
    with pytest.raises(KaosError, match="no sample `6-autonomus-monitor`") as caught:
        await machine.kaos("samples deploy 6-autonomus-monitor")
    assert caught.value.hint == "did you mean `6-autonomous-monitor`?" and machine.cluster.requests == []


async def test_installing_twice_is_the_same_as_once_and_crds_come_before_what_is_in_the_namespace(
    machine: Machine,
) -> None:
    await machine.kaos("system install")
    paths = [request.path for request in machine.cluster.writes]
    first_inside = next(i for i, path in enumerate(paths) if "/namespaces/kaos-system/" in path)
    last_crd = max(i for i, path in enumerate(paths) if "customresourcedefinitions" in path)
    assert last_crd < first_inside and "/api/v1/namespaces/kaos-system" in paths
    before = set(machine.cluster.objects)
    await machine.kaos("system install")
    assert set(machine.cluster.objects) == before


async def test_the_state_of_the_operator_and_the_runtimes_come_from_the_cluster(machine: Machine) -> None:
    assert (await machine.kaos("system status")).data["installed"] is False
    await machine.kaos("system install")
    found = (await machine.kaos("system status")).data
    assert len(found["crds"]) == 3 and found["ready"] is False
    path = "/apis/apps/v1/namespaces/kaos-system/deployments/kaos-operator"
    deployment = machine.cluster.objects[path]
    generation = deployment["metadata"]["generation"]
    done = {"observedGeneration": generation, "updatedReplicas": 1, "availableReplicas": 1}
    machine.cluster.put(path, {**deployment, "status": done})
    assert (await machine.kaos("system status")).data["ready"] is True
    assert "python-string" in (await machine.kaos("system runtimes")).data["runtimes"]


async def test_uninstalling_keeps_the_kinds_unless_told_otherwise(machine: Machine) -> None:
    await machine.kaos("system install")
    await machine.kaos("system uninstall")
    left = list(machine.cluster.objects)
    assert any("customresourcedefinitions" in path for path in left) and any("apiservices" in path for path in left)
    assert not any("deployments" in path or "clusterrole" in path for path in left)
    await machine.kaos("system uninstall --crds")
    assert not any("customresourcedefinitions" in path or "apiservices" in path for path in machine.cluster.objects)
