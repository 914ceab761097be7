from __future__ import annotations

import json
import re
import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from kaos_ext.cluster.apiserver.defaults import prepare
from kaos_ext.cluster.apiserver.schema.crd import default_crd
from kaos_ext.cluster.apiserver.wire import discovery, openapi
from kaos_ext.cluster.apiserver.wire.ages import human
from kaos_ext.cluster.apiserver.wire.jsonpath import compile_path
from kaos_ext.cluster.apiserver.wire.printers import PRINTERS
from kaos_ext.cluster.apiserver.wire.protobuf import MAGIC, ProtobufError, decode
from kaos_ext.cluster.apiserver.wire.table import table_for
from kaos_ext.kube.objects import Resource
from tests.apiserver.pure import golden

ITEMS = {item["metadata"]["name"]: item for item in discovery.builtin_items()}


# Discovery


@pytest.mark.parametrize("name", ["/apis/apps/v1", "/api/v1", "/apis/batch/v1"])
def test_resource_lists_are_the_recorded_ones(name: str) -> None:
    recorded = golden.pair(name)
    made = discovery.resource_list(recorded.group, ITEMS[recorded.group]["versions"][0])
    assert made == recorded.answer


def test_groups_are_the_recorded_ones() -> None:
    assert discovery.group(ITEMS["apps"]) == golden.pair("/apis/apps").answer
    recorded = [one for one in golden.pair("unaggregated /apis").answer["groups"] if one["name"] != "ex.dev"]
    assert discovery.group_list([item for name, item in ITEMS.items() if name])["groups"] == recorded


def test_the_aggregated_document_holds_what_was_recorded() -> None:
    made = discovery.aggregated([ITEMS["apps"]])
    assert made["items"] == [golden.pair("aggregated /apis").answer["item apps"]]
    assert discovery.aggregated([], "v2beta1")["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


def test_a_crd_is_listed_with_its_subresources() -> None:
    crd = golden.pair("crd get").answer
    entry = {"version": "v1", "resources": [discovery.crd_resource(crd, crd["spec"]["versions"][0])]}
    assert discovery.resource_list("ex.dev", entry) == golden.pair("discovery v1 list of group").answer


def test_versions_are_ordered_as_kubernetes_does() -> None:
    versions = ["foo", "v1alpha1", "v1", "v2beta1", "v10", "v2", "v1beta2"]
    assert sorted(versions, key=discovery.version_order) == ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]


# Protobuf


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def member(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + member(1, member(1, api_version) + member(2, kind)) + member(2, raw)


def test_a_config_map_in_protobuf_becomes_its_json() -> None:
    metadata = member(1, "cm") + member(2, "") + member(3, "ns") + member(8, b"") + member(7, 0)
    entry = member(1, "key") + member(2, "")
    body = envelope("v1", "ConfigMap", member(1, metadata) + member(2, entry))
    assert decode(body) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cm", "namespace": "ns"},
        "data": {"key": ""},
    }


def test_zero_stays_where_go_has_a_pointer_and_goes_elsewhere() -> None:
    replicas_zero = member(1, 0) + member(5, 0)  # replicas, minReadySeconds
    body = envelope("apps/v1", "Deployment", member(1, member(1, "d")) + member(2, replicas_zero))
    assert decode(body)["spec"] == {"replicas": 0}


def test_members_that_json_has_inline_are_flattened() -> None:
    request = member(1, "/ready") + member(2, member(1, 1) + member(3, "http"))  # path, port as a name
    probe = member(1, member(2, request)) + member(4, 5)
    container = member(1, "c") + member(10, probe)
    volume = member(1, "v") + member(2, member(2, b""))  # an empty emptyDir
    spec = member(1, volume) + member(2, container)
    decoded = decode(envelope("v1", "Pod", member(2, spec)))
    assert decoded["spec"]["containers"][0]["livenessProbe"] == {
        "httpGet": {"path": "/ready", "port": "http"},
        "periodSeconds": 5,
    }
    assert decoded["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_delete_options_and_bytes_and_quantities_are_read() -> None:
    options = decode(envelope("v1", "DeleteOptions", member(1, 0) + member(4, "Background")))
    assert options == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }
    secret = decode(envelope("v1", "Secret", member(2, member(1, "k") + member(2, b"\x00\xff"))))
    assert secret["data"] == {"k": "AP8="}
    hard = member(1, "cpu") + member(2, member(1, "500m"))
    quota = decode(envelope("v1", "ResourceQuota", member(2, member(1, hard))))
    assert quota["spec"] == {"hard": {"cpu": "500m"}}


@pytest.mark.parametrize(
    "body", [b"{}", MAGIC + b"\xff\xff", envelope("v9", "Nope", b""), envelope("v1", "Pod", b"\x0a\x7f")]
)
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtobufError):
        decode(body)


def test_negative_numbers_are_read_as_such() -> None:
    assert struct.unpack("<q", struct.pack("<Q", (1 << 64) - 5))[0] == -5
    decoded = decode(envelope("batch/v1", "Job", member(2, member(3, -5))))
    assert decoded["spec"] == {"activeDeadlineSeconds": -5}


# Tables

TABLES = [one for one in golden.pairs() if one.answer.get("kind") == "Table" and one.kind]
NOW = datetime(2026, 11, 21, 13, 3, 15, tzinfo=UTC)


def builtin_kinds() -> list[tuple[str, str, str]]:
    return [
        (group, version["version"], resource["responseKind"]["kind"])
        for group, item in ITEMS.items()
        for version in item["versions"]
        for resource in version["resources"]
    ]


def stored_before(pair: golden.Pair) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for one in golden.pairs():
        if one.index < pair.index and one.kind == pair.kind and one.status in (200, 201) and len(one.rest) < 3:
            for obj in one.answer.get("items") or [one.answer]:
                metadata = obj.get("metadata") or {}
                if metadata.get("name") and metadata.get("namespace", "") == pair.namespace:
                    found[metadata["name"]] = {"kind": one.kind, **obj}
    return found


def ageless(cells: list[Any]) -> list[Any]:
    age = r"(\d+[smhd])+"

    return ["*" if isinstance(cell, str) and re.fullmatch(age, cell) else cell for cell in cells]


@pytest.mark.parametrize("pair", TABLES, ids=lambda pair: f"{pair.index}-{pair.name}")
def test_tables_have_the_recorded_columns_and_cells(pair: golden.Pair) -> None:
    resource = Resource(pair.group, pair.version, pair.rest[0], pair.kind)
    stored = stored_before(pair)
    compared = [
        (row, stored[row["object"]["metadata"]["name"]])
        for row in pair.answer["rows"]
        if row["object"]["metadata"]["name"] in stored
    ]
    made = table_for(resource, [obj for _, obj in compared], None, NOW)
    assert made["columnDefinitions"] == pair.answer["columnDefinitions"]
    assert [ageless(row["cells"]) for row in made["rows"]] == [ageless(row["cells"]) for row, _ in compared]


def test_a_crd_shows_its_own_columns() -> None:
    recorded = golden.pair("table get includeObject=None")
    columns = golden.pair("crd get").answer["spec"]["versions"][0]["additionalPrinterColumns"]
    obj = golden.pair("get g1").answer
    made = table_for(Resource("ex.dev", "v1", "gadgets", "Gadget"), [obj], columns, NOW, "None")
    assert made["columnDefinitions"] == recorded.answer["columnDefinitions"]
    assert ageless(made["rows"][0]["cells"]) == ageless(recorded.answer["rows"][0]["cells"])
    assert made["rows"][0]["object"] is None


def pod(**status: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c"}], "nodeName": "n"}
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (
            {"phase": "Running", "containerStatuses": [{"name": "c", "ready": True, "state": {"running": {}}}]},
            ["1/1", "Running", "0"],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "c",
                        "restartCount": 2,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"finishedAt": "2026-11-21T13:03:05Z"}},
                    }
                ],
            },
            ["0/1", "CrashLoopBackOff", "2 (10s ago)"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]},
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            {
                "phase": "Succeeded",
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
            },
            ["0/1", "Completed", "0"],
        ),
    ],
)
def test_a_pod_shows_what_its_containers_do(status: dict[str, Any], shown: list[str]) -> None:
    made = table_for(Resource("", "v1", "pods", "Pod"), [pod(**status)], None, NOW)
    assert made["rows"][0]["cells"][1:4] == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (125, "2m5s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (50 * 3600, "2d2h"),
        (400 * 86400, "400d"),
    ],
)
def test_ages_are_short(seconds: int, text: str) -> None:
    assert human(seconds) == text


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        (".spec.list[1]", ["y"]),
        (".spec.list[-1]", ["y"]),
        (".spec.list[*]", ["x", "y"]),
        (r".metadata.labels.ex\.dev/a", ["L"]),
        (".metadata.labels['ex.dev/a']", ["L"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        ("{.spec.a}", [1]),
        (".nope.deeper", []),
    ],
)
def test_json_paths_of_columns_find_their_values(path: str, found: list[Any]) -> None:
    obj = {
        "metadata": {"labels": {"ex.dev/a": "L"}},
        "spec": {"a": 1, "list": ["x", "y"]},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    assert compile_path(path)(obj) == found


# OpenAPI


def test_an_openapi_document_lets_kubectl_apply_and_explain() -> None:
    apps = ITEMS["apps"]["versions"][0]
    document = openapi.document("apps", "v1", apps["resources"])
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in {one["name"] for one in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    assert schemas["io.k8s.api.core.v1.Container"]["properties"]["name"]["description"]
    wanted = {part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert wanted <= schemas.keys()


def test_a_custom_kind_is_in_the_document_of_its_group() -> None:
    crd = default_crd(golden.pair("crd create").body)
    version = crd["spec"]["versions"][0]
    resource = discovery.crd_resource(crd, version)
    custom = {"Gadget": version["schema"]["openAPIV3Schema"]}
    document = openapi.document("ex.dev", "v1", [resource], custom)
    patch = document["paths"]["/apis/ex.dev/v1/namespaces/{namespace}/gadgets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    schema = document["components"]["schemas"]["dev.ex.v1.Gadget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "ex.dev", "kind": "Gadget", "version": "v1"}]
    assert schema["properties"]["metadata"]["allOf"][0]["$ref"].endswith("ObjectMeta")
    before = openapi.fingerprint("ex.dev", "v1", [resource], custom)
    assert before == openapi.fingerprint("ex.dev", "v1", [resource], custom)
    assert before != openapi.fingerprint("ex.dev", "v1", [resource], {"Gadget": {"type": "object"}})
    listed = openapi.index({openapi.path_of("ex.dev", "v1"): before})
    assert listed == {"paths": {"apis/ex.dev/v1": {"serverRelativeURL": f"/openapi/v3/apis/ex.dev/v1?hash={before}"}}}


@pytest.mark.parametrize("kind", sorted(PRINTERS))
def test_every_printer_fills_every_column_even_of_a_bare_object(kind: str) -> None:
    gvk = next(one for one in builtin_kinds() if one[2] == kind)
    obj = prepare(gvk, {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}})
    made = table_for(Resource(gvk[0], gvk[1], "x", kind), [obj], None, NOW)
    assert len(made["columnDefinitions"]) > 1
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])


def test_a_binding_shows_whom_it_binds() -> None:
    subjects = [
        {"kind": "ServiceAccount", "namespace": "n", "name": "sa"},
        {"kind": "User", "name": "u"},
        {"kind": "Group", "name": "g"},
    ]
    obj = {"metadata": {"name": "rb"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": subjects}
    resource = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
    cells = table_for(resource, [obj], None, NOW)["rows"][0]["cells"]
    assert cells == ["rb", "Role/r", "<unknown>", "u", "g", "n/sa"]
