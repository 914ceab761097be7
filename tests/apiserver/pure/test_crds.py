from __future__ import annotations

from typing import Any

import pytest

from kaos_ext.cluster.apiserver.schema.crd import crd_errors, crd_versions, default_crd, first_status, naming_status
from kaos_ext.cluster.apiserver.schema.errors import joined
from tests.apiserver.pure import golden

NOW = "2026-11-21T13:02:47Z"
CREATES = [
    one
    for one in golden.pairs()
    if one.kind == "CustomResourceDefinition"
    and one.method == "POST"
    and one.name not in ("crd bad cel", "crd cel cost")
]


@pytest.mark.parametrize("pair", CREATES, ids=lambda pair: f"{pair.index}-{pair.name}")
def test_recorded_crds_are_accepted_or_refused_in_the_recorded_words(pair: golden.Pair) -> None:
    crd = default_crd(pair.body)
    found = crd_errors(crd)
    if pair.status == 201:
        assert found == []
        assert crd["spec"]["names"] == pair.answer["spec"]["names"]
        assert crd["spec"]["conversion"] == pair.answer["spec"]["conversion"]
        assert first_status(crd) == pair.answer["status"]
    else:
        head = f'CustomResourceDefinition.apiextensions.k8s.io "{crd["metadata"]["name"]}" is invalid: '
        assert golden.wording(head + joined(found)) == golden.wording(pair.message)


def test_an_accepted_crd_is_established_at_once() -> None:
    recorded = golden.pair("crd get").answer
    crd = default_crd(golden.pair("crd create").body)
    status = naming_status(crd, [], NOW)
    assert status == recorded["status"]
    assert naming_status({**crd, "status": status}, [], "later") == status


def test_a_crd_that_claims_taken_names_is_not_established() -> None:
    first = default_crd(golden.pair("crd with cel").body)
    first["status"] = naming_status(first, [], NOW)
    second = default_crd(golden.pair("crd conflicting names").body)
    status = naming_status(second, [first], NOW)
    accepted, established = status["conditions"]
    assert (accepted["status"], established["status"]) == ("False", "False")
    assert accepted["reason"].endswith("Conflict")
    assert established["reason"] == "NotAccepted"


def crd_of(schema: dict[str, Any], **version: Any) -> dict[str, Any]:
    return default_crd(
        {
            "metadata": {"name": "things.ex.dev"},
            "spec": {
                "group": "ex.dev",
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
                ],
            },
        }
    )


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        ({}, "type", "FieldValueRequired"),
        ({"type": "thing"}, "type", "FieldValueNotSupported"),
        ({"type": "array"}, "items", "FieldValueRequired"),
        ({"type": "object", "$ref": "#/x"}, "$ref", "FieldValueForbidden"),
        ({"type": "object", "oneOf": [{"type": "string"}]}, "oneOf[0].type", "FieldValueForbidden"),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            "x-kubernetes-list-map-keys",
            "FieldValueRequired",
        ),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems", "FieldValueForbidden"),
    ],
)
def test_a_schema_that_is_not_structural_is_refused_at_its_place(spec: Any, path: str, reason: str) -> None:
    found = crd_errors(crd_of({"type": "object", "properties": {"spec": spec}}))
    assert (f"spec.validation.openAPIV3Schema.properties[spec].{path}", reason) in {
        (one.path, one.reason) for one in found
    }


def test_what_pydantic_renders_for_optional_fields_is_structural() -> None:
    properties = {
        "count": {"type": "integer", "nullable": True, "default": 3, "minimum": 0},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    columns = [{"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'}]
    assert crd_errors(crd_of(schema, additionalPrinterColumns=columns)) == []
    assert list(crd_versions(crd_of(schema))) == ["v1"]


def test_the_group_and_of_an_established_crd_the_scope_stay() -> None:
    old = crd_of({"type": "object"})
    old["status"] = naming_status(old, [], NOW)
    new = crd_of({"type": "object"})
    new["spec"]["scope"] = "Cluster"
    assert joined(crd_errors(new, old)) == 'spec.scope: Invalid value: "Cluster": field is immutable'
