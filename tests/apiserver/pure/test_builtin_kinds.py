from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest

from kaos_ext.cluster.apiserver.defaults import prepare
from kaos_ext.cluster.apiserver.patch.merge import merge_patch
from kaos_ext.cluster.apiserver.patch.strategic import strategic_patch
from kaos_ext.cluster.apiserver.schema.builtin import builtin_components, builtin_schema, compiled, typed
from kaos_ext.cluster.apiserver.schema.decoding import DecodeError, decode, decode_metadata
from kaos_ext.cluster.apiserver.schema.errors import joined
from kaos_ext.cluster.apiserver.schema.quantities import canonical
from kaos_ext.cluster.apiserver.validation import complaints
from tests.apiserver.pure import golden

ANSWERS = [
    (one, obj)
    for one in golden.pairs()
    for obj in (one.answer.get("items") or [one.answer])
    if obj.get("apiVersion")
    and obj.get("kind") != "Status"
    and one.kind
    and len(one.rest) < 3
    and obj.get("kind") == one.kind
]


@pytest.mark.parametrize(("pair", "obj"), [pytest.param(*one, id=f"{one[0].index}-{one[0].name}") for one in ANSWERS])
def test_what_the_real_server_answers_is_read_and_written_unchanged(pair: golden.Pair, obj: dict[str, Any]) -> None:
    assert decode(pair.gvk, copy.deepcopy(obj)) == obj
    schema = compiled(pair.gvk)
    assert schema is not None
    assert schema.unknown_fields(obj) == []


CREATES = [
    one
    for one in golden.pairs()
    if one.method == "POST"
    and one.status == 201
    and one.kind
    and len(one.rest) == 1
    and isinstance(one.sent, dict)
    and one.kind
    in (
        "Pod",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
        "DaemonSet",
        "Service",
        "PersistentVolumeClaim",
        "StorageClass",
        "CronJob",
        "RoleBinding",
        "NetworkPolicy",
        "HorizontalPodAutoscaler",
        "PriorityClass",
        "Ingress",
        "LimitRange",
        "CustomResourceDefinition",
        "Lease",
    )
]
ADDED_LATER = {
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "serviceAccount",
    "serviceAccountName",
    "volumes",
    "tolerations",
    "priority",
    "preemptionPolicy",
    "volumeMounts",
    "storageClassName",
    "nodePort",
}


def missing(have: Any, wanted: Any, path: str = "") -> list[str]:
    """What of the recorded answer we do not have, what we have otherwise, and what we have too much."""
    if isinstance(have, dict) and isinstance(wanted, dict):
        keys = sorted((have.keys() | wanted.keys()) - ADDED_LATER)
        absent = object()
        return [
            line for key in keys for line in missing(have.get(key, absent), wanted.get(key, absent), f"{path}.{key}")
        ]
    if isinstance(have, list) and isinstance(wanted, list) and len(have) == len(wanted):
        return [line for both in zip(have, wanted, strict=True) for line in missing(*both, f"{path}[]")]
    return [] if have == wanted else [f"{path}: {have!r} instead of {wanted!r}"]


@pytest.mark.parametrize("pair", CREATES, ids=lambda pair: f"{pair.index}-{pair.name}")
def test_defaults_are_the_recorded_ones(pair: golden.Pair) -> None:
    api_version = f"{pair.group}/{pair.version}" if pair.group else pair.version
    obj = prepare(pair.gvk, {**pair.body, "kind": pair.kind, "apiVersion": api_version})
    body = {key: value for key, value in pair.answer.items() if key not in ("metadata", "status")}
    assert missing({key: value for key, value in obj.items() if key not in ("metadata", "status")}, body) == []


# Said with a diff or a dump of Go structs, or by allocation, rules (CEL), or options of the request.
OTHERWISE = {
    "pod spec immutable",
    "pvc grow",
    "job template immutable",
    "job completions immutable",
    "create job manual selector",
    "crd bad cel",
    "crd cel cost",
    "crd scope immutable",
    "create endpointslice",
    "create service nodeport taken",
    "create service nodeport range",
    "create service ip out of range",
    "create service ip taken",
    "strict merge patch",
    "strict strategic patch",
    "bad value",
    "apply force on merge patch",
    "dryrun bad",
}


def recorded_writes() -> list[Any]:
    live: dict[str, dict[str, Any]] = {}
    cases = []
    for one in golden.pairs():
        plain = one.method in ("POST", "PATCH") and isinstance(one.sent, dict) and "apply" not in one.content_type
        whole = len(one.rest) == (1 if one.method == "POST" else 2)
        answered = one.status in (200, 201) or one.answer.get("reason") == "Invalid"
        if plain and whole and answered and one.kind and one.name not in OTHERWISE:
            old = copy.deepcopy(live.get(one.path)) if one.method == "PATCH" else None
            if one.method == "POST" or old is not None:
                cases.append(pytest.param(one, old, id=f"{one.index}-{one.name}"))
        name = (one.answer.get("metadata") or {}).get("name")
        if one.status in (200, 201) and name and one.answer.get("kind") == one.kind:
            live[f"{one.path}/{name}" if one.method == "POST" else one.path] = one.answer
    return cases


@pytest.mark.parametrize(("pair", "old"), recorded_writes())
def test_recorded_writes_are_accepted_or_refused_in_the_recorded_words(
    pair: golden.Pair, old: dict[str, Any] | None
) -> None:
    obj = pair.body
    if old is not None:
        strategic = "strategic" in pair.content_type
        obj = strategic_patch(old, obj, typed(pair.gvk)) if strategic else merge_patch(old, obj)
    api_version = f"{pair.group}/{pair.version}" if pair.group else pair.version
    obj = prepare(pair.gvk, {**obj, "kind": pair.kind, "apiVersion": api_version})
    metadata = obj.setdefault("metadata", {})
    if pair.namespace:
        metadata.setdefault("namespace", pair.namespace)
    if metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "abcde"
    if "stringData" in obj:
        obj["data"] = {**(obj.get("data") or {}), **dict.fromkeys(obj.pop("stringData"), "")}
    found = complaints(pair.gvk, obj, old)
    head = f'{pair.kind}{"." + pair.group if pair.group else ""} "{metadata.get("name", "")}" is invalid: '
    if pair.group == "events.k8s.io":
        head = head.replace(".events.k8s.io", "")  # events are stored in the core group
    assert golden.wording(head + joined(found) if found else "") == golden.wording(pair.message)


def test_wrong_types_are_refused_in_the_words_of_go() -> None:
    recorded = golden.pair("cm nonstring data")
    with pytest.raises(DecodeError) as refused:
        decode(recorded.gvk, recorded.body)
    assert recorded.message.endswith(str(refused.value))
    recorded = golden.pair("create secret basic")
    with pytest.raises(DecodeError) as refused:
        decode(recorded.gvk, recorded.body)
    assert recorded.message.endswith(str(refused.value))
    with pytest.raises(DecodeError) as refused:
        decode_metadata({"labels": {"a": 1}})
    assert golden.pair("cr labels not strings").message.endswith(str(refused.value))


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("100k", "100k"),
    ],
)
def test_quantities_have_one_canonical_form(written: str, wanted: str) -> None:
    assert canonical(written) == wanted
    assert canonical(wanted) == wanted


def test_fields_that_a_built_in_kind_does_not_have_are_named_with_their_path() -> None:
    recorded = golden.pair("strict unknown nested")
    schema = compiled(recorded.gvk)
    assert schema is not None
    unknown = schema.unknown_fields(recorded.body)
    assert recorded.message.endswith(", ".join(f'unknown field "{path}"' for path in unknown))


def test_every_reference_of_the_built_in_schemas_resolves() -> None:
    text = json.dumps(builtin_components())
    names = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= builtin_components().keys()
    assert builtin_schema(("apps", "v1", "Nope")) is None


def test_nothing_is_read_before_it_is_asked_for() -> None:
    """Importing every pure part reads no table and brings in no heavy module."""
    program = """
import sys
from kaos_ext.cluster.apiserver import defaults, selectors, validation
from kaos_ext.cluster.apiserver.apply import server_side
from kaos_ext.cluster.apiserver.patch import json_patch, merge, strategic
from kaos_ext.cluster.apiserver.schema import builtin, crd, structural
from kaos_ext.cluster.apiserver.wire import discovery, openapi, protobuf, table
from kaos_ext.cluster.apiserver import data
assert data.table.cache_info().currsize == 0, data.table.cache_info()
heavy = {"aiohttp", "asyncio", "yaml", "pydantic", "kubernetes"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
