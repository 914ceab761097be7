from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.cluster.apiserver.apply.fields import fields_of, from_v1, to_v1
from kaos_ext.cluster.apiserver.apply.server_side import ApplyConflict, server_side_apply, track_update
from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.schema.builtin import builtin_schema, custom_type, typed, zero
from kaos_ext.cluster.apiserver.schema.types import TypeMap
from tests.apiserver.pure import golden

NOW = "2026-11-21T13:03:13Z"
WITHOUT_STATUS = ("ConfigMap", "Secret")
# Refusals that are decided before the fields are looked at.
ELSEWHERE = (
    "ssa no manager",
    "apply name mismatch",
    "apply with rv stale",
    "apply uid of absent",
    "manager name too long",
    "apply wrong version",
    "apply no apiVersion",
    "apply drop ownership",
    "apply missing key",
    "apply bad yaml",
)


def kind_type(obj: dict[str, Any]) -> tuple[TypeMap | None, dict[str, Any] | None]:
    group, _, version = obj["apiVersion"].rpartition("/")
    gvk = (group, version, obj["kind"])
    if builtin_schema(gvk) is not None:
        return typed(gvk), zero(gvk)
    crd = golden.pair("crd create").sent
    return custom_type(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]), None


def managers(obj: dict[str, Any]) -> list[str]:
    """managedFields in an order of our own, times only as present or not."""
    entries = (obj.get("metadata") or {}).get("managedFields") or []
    return sorted(json.dumps({**entry, "time": "time" in entry}, sort_keys=True) for entry in entries)


def recorded_applies() -> Iterator[tuple[golden.Pair, dict[str, Any] | None]]:
    """Every recorded apply with the object it met."""
    live: dict[str, dict[str, Any]] = {}
    for one in golden.pairs():
        base = one.path.removesuffix("/status")
        if one.content_type.endswith("apply-patch+yaml") and one.name not in ELSEWHERE and isinstance(one.sent, dict):
            yield one, copy.deepcopy(live.get(base))
        answer = one.answer
        if one.status in (200, 201) and one.method in ("POST", "PATCH", "PUT") and "dryRun" not in one.query:
            name = (answer.get("metadata") or {}).get("name")
            live[f"{base}/{name}" if one.method == "POST" else base] = answer


def applied(pair: golden.Pair, live: dict[str, Any] | None) -> dict[str, Any]:
    kind, empty = kind_type(pair.sent)
    return server_side_apply(
        live,
        pair.body,
        manager=pair.query["fieldManager"],
        force=pair.query.get("force") == "true",
        type=kind,
        subresource="status" if pair.path.endswith("/status") else "",
        now=NOW,
        api_version=pair.sent["apiVersion"],
        empty=empty,
        status_subresource=pair.sent["kind"] not in WITHOUT_STATUS,
    )


@pytest.mark.parametrize(
    ("pair", "live"), [pytest.param(*case, id=f"{case[0].index}-{case[0].name}") for case in recorded_applies()]
)
def test_recorded_applies_leave_the_recorded_managers(pair: golden.Pair, live: dict[str, Any] | None) -> None:
    if pair.status == 409:
        with pytest.raises(ApplyConflict) as conflict:
            applied(pair, live)
        assert conflict.value.message == pair.message
        assert conflict.value.causes == pair.answer["details"]["causes"]
    elif pair.status >= 400:
        with pytest.raises(PatchError) as refused:
            applied(pair, live)
        assert (refused.value.code, refused.value.message) == (pair.status, pair.message)
    else:
        assert managers(applied(pair, live)) == managers(pair.answer)


# What the server adds after the fields are counted: addresses, tokens, defaults of admission.
PLAIN_CREATES = [
    one
    for one in golden.pairs()
    if one.method == "POST"
    and one.status == 201
    and (one.answer.get("metadata") or {}).get("managedFields")
    and one.answer["kind"]
    in (
        "ConfigMap",
        "Secret",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Gadget",
        "CustomResourceDefinition",
        "CronJob",
        "Lease",
        "Ingress",
        "NetworkPolicy",
        "Role",
        "RoleBinding",
        "ServiceAccount",
        "Event",
    )
]


@pytest.mark.parametrize("pair", PLAIN_CREATES, ids=lambda pair: f"{pair.index}-{pair.name}")
def test_a_creator_owns_the_recorded_fields(pair: golden.Pair) -> None:
    kind, empty = kind_type(pair.answer)
    new = copy.deepcopy(pair.answer)
    new["metadata"].pop("managedFields")
    manager = pair.query.get("fieldManager") or "python-requests"
    entries = track_update(None, new, manager=manager, type=kind, now=NOW, api_version=new["apiVersion"], empty=empty)
    assert managers({"metadata": {"managedFields": entries}}) == managers(pair.answer)


DEPLOYMENT = typed(("apps", "v1", "Deployment"))


def deployment(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def apply(live: dict[str, Any] | None, manager: str, force: bool = False, **spec: Any) -> dict[str, Any]:
    return server_side_apply(
        live, deployment(**spec), manager=manager, force=force, type=DEPLOYMENT, now=NOW, api_version="apps/v1"
    )


def test_what_a_manager_stops_to_apply_goes_unless_another_applies_it_too() -> None:
    live = apply(None, "one", replicas=1, paused=True)
    live = apply(live, "two", replicas=1)
    live = apply(live, "one")
    assert live["spec"] == {"replicas": 1}
    live = apply(live, "two")
    assert live.get("spec", {}) == {}


def test_another_managers_fields_are_never_lost() -> None:
    live = apply(None, "one", replicas=1)
    live = apply(live, "two", paused=True)
    with pytest.raises(ApplyConflict) as conflict:
        apply(live, "two", paused=True, replicas=2)
    assert "one" in conflict.value.message
    live = apply(live, "two", force=True, paused=True, replicas=2)
    assert live["spec"] == {"replicas": 2, "paused": True}
    live = apply(live, "one", minReadySeconds=3)
    assert live["spec"] == {"replicas": 2, "paused": True, "minReadySeconds": 3}


def test_what_kubectl_noted_as_last_applied_follows_its_applies() -> None:
    recorded = golden.pair("ssa over csa")
    live = golden.pair("csa object").answer
    made = applied(recorded, copy.deepcopy(live))
    assert made["metadata"]["annotations"] == recorded.answer["metadata"]["annotations"]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = apply(None, "one", replicas=1, paused=True)
    with pytest.raises(ApplyConflict) as conflict:
        apply(live, "two", replicas=2, paused=False)
    assert (
        conflict.value.message
        == 'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.paused\n- .spec.replicas'
    )


def test_an_update_takes_fields_over_and_drops_those_it_removes() -> None:
    live = apply(None, "one", replicas=1, paused=True)
    new = copy.deepcopy(live)
    new["spec"] = {"replicas": 2}
    entries = track_update(live, new, manager="kubectl-edit", type=DEPLOYMENT, now=NOW, api_version="apps/v1")
    owned = {entry["manager"]: entry["fieldsV1"] for entry in entries}
    assert owned == {"kubectl-edit": {"f:spec": {"f:replicas": {}}}}


def test_clearing_managed_fields_stops_the_tracking() -> None:
    live = apply(None, "one", replicas=1)
    new = copy.deepcopy(live)
    new["metadata"]["managedFields"] = [{}]
    new["spec"]["replicas"] = 3
    assert track_update(live, new, manager="x", type=DEPLOYMENT, now=NOW, api_version="apps/v1") == []


def test_at_most_ten_updaters_are_kept() -> None:
    live = apply(None, "one", replicas=1)
    for number in range(15):
        new = copy.deepcopy(live)
        new["metadata"].setdefault("labels", {})[f"l{number}"] = "x"
        now = f"2026-11-21T13:03:{number:02d}Z"
        new["metadata"]["managedFields"] = track_update(
            live, new, manager=f"m{number}", type=DEPLOYMENT, now=now, api_version="apps/v1"
        )
        live = new
    updaters = [one["manager"] for one in live["metadata"]["managedFields"] if one["operation"] == "Update"]
    assert len(updaters) == 10
    assert "ancient-changes" in updaters
    everything = {path for one in live["metadata"]["managedFields"] for path in from_v1(one["fieldsV1"])}
    assert {("f:metadata", "f:labels", f"f:l{number}") for number in range(15)} <= everything


paths = st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), min_size=1, max_size=4).map(tuple)


@given(st.frozensets(paths, max_size=12))
def test_written_fields_are_read_back(fields: frozenset[tuple[str, ...]]) -> None:
    assert from_v1(to_v1(fields)) == fields


def test_every_recorded_entry_survives_being_read_and_written() -> None:
    for one in golden.pairs():
        for entry in ((one.answer.get("metadata") or {}).get("managedFields")) or ():
            assert to_v1(from_v1(entry["fieldsV1"])) == entry["fieldsV1"]


def test_keys_left_to_their_default_are_part_of_the_name_of_an_item() -> None:
    container = {"name": "c", "ports": [{"containerPort": 80}]}
    obj = deployment(template={"spec": {"containers": [container]}})
    names = {element for path in fields_of(obj, DEPLOYMENT) for element in path}
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in names
