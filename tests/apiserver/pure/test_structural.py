from __future__ import annotations

import time
from typing import Any

import pytest

from kaos_ext.cluster.apiserver.schema.errors import joined
from kaos_ext.cluster.apiserver.schema.structural import Schema, compile_schema
from tests.apiserver.pure import golden


def schema_of(pair: golden.Pair) -> Schema | None:
    for one in golden.pairs():
        sent = one.sent if one.path.endswith("/customresourcedefinitions") else None
        if isinstance(sent, dict) and one.status == 201 and sent["spec"]["group"] == pair.group:
            for version in sent["spec"]["versions"]:
                if sent["spec"]["names"]["plural"] == pair.rest[0] and version["name"] == pair.version:
                    return compile_schema(version["schema"]["openAPIV3Schema"])
    return None


WRITES = [
    one
    for one in golden.pairs()
    if one.group in ("ex.dev", "ex2.dev")
    and one.method == "POST"
    and isinstance(one.sent, dict)
    and one.status in (201, 422)
    and one.name not in ("dryrun bad", "clu create default needs parent")  # an option; a schema that was changed
]


@pytest.mark.parametrize("pair", WRITES, ids=lambda pair: f"{pair.index}-{pair.name}")
def test_recorded_custom_resources_are_pruned_defaulted_and_judged_as_recorded(pair: golden.Pair) -> None:
    schema = schema_of(pair)
    assert schema is not None
    obj = pair.body
    schema.default(obj)
    schema.prune(obj)
    found = schema.validate(obj)
    if pair.status == 201:
        assert found == []
        assert obj.get("spec") == pair.answer.get("spec")
    elif pair.name in ("cel min>max", "cel list", "bad name", "no name", "wrong kind", "fin invalid name"):
        assert found == []  # metadata and rules are not the schema's business
    else:
        head = f'{pair.sent["kind"]}.{pair.group} "{pair.sent["metadata"]["name"]}" is invalid: '
        assert golden.wording(head + joined(found)) == golden.wording(pair.message)
        assert {str(cause["reason"]) for cause in pair.answer["details"]["causes"]} == {one.reason for one in found}


def compiled(**properties: Any) -> Schema:
    return compile_schema({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})


def complaints(schema: Schema, **spec: Any) -> list[str]:
    return [str(one) for one in schema.validate({"spec": spec})]


@pytest.mark.parametrize(
    ("limits", "value", "message"),
    [
        ({"type": "string"}, None, 'spec.x: Invalid value: "null": spec.x in body must be of type string: "null"'),
        ({"type": "integer"}, 1.5, 'spec.x: Invalid value: "number": spec.x in body must be of type integer: "number"'),
        (
            {"type": "integer"},
            True,
            'spec.x: Invalid value: "boolean": spec.x in body must be of type integer: "boolean"',
        ),
        (
            {"type": "integer", "minimum": 1},
            0,
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            {"type": "string", "minLength": 1},
            "",
            'spec.x: Invalid value: "": spec.x in body should be at least 1 chars long',
        ),
        (
            {"type": "string", "pattern": "^a$"},
            "a\n",
            r"""spec.x: Invalid value: "a\n": spec.x in body should match '^a$'""",
        ),
        (
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
            [],
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
        ),
        (
            {"type": "string", "format": "date-time"},
            "now",
            'spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now"',
        ),
        (
            {"x-kubernetes-int-or-string": True},
            [],
            'spec.x: Invalid value: "array": spec.x in body must be of type integer,string: "array"',
        ),
    ],
)
def test_a_value_outside_its_limits_is_named_with_its_path(limits: dict[str, Any], value: Any, message: str) -> None:
    assert complaints(compiled(x=limits), x=value) == [message]


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        ({"type": "string", "nullable": True}, None),
        ({"type": "integer"}, 3.0),
        ({"x-kubernetes-int-or-string": True}, "50%"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": "b"}),
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object", "properties": {"a": {}, "b": {}}},
            {"b": 1},
        ),
        ({"type": "string", "pattern": "^[[:alpha:]]+$"}, "abc"),
    ],
)
def test_a_value_inside_its_limits_is_taken(limits: dict[str, Any], value: Any) -> None:
    assert complaints(compiled(x=limits), x=value) == []


def test_alternatives_are_counted() -> None:
    either = {"type": "object", "properties": {"a": {}, "b": {}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert complaints(compiled(x=either), x={"a": 1}) == []
    assert complaints(compiled(x=either), x={"a": 1, "b": 1})[-1].endswith(
        '"spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    )
    assert complaints(compiled(x=either), x={}) == [
        '<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found none valid',
        "spec.x.a: Required value",
    ]


def test_keys_of_a_keyed_list_count_with_their_defaults() -> None:
    items = {
        "type": "object",
        "properties": {"port": {"type": "integer"}, "proto": {"type": "string", "default": "TCP"}},
    }
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "proto"],
        "items": items,
    }
    assert complaints(compiled(x=ports), x=[{"port": 1}, {"port": 1, "proto": "TCP"}]) == [
        'spec.x[1]: Duplicate value: {"port":1,"proto":"TCP"}'
    ]


def test_pruning_keeps_what_is_preserved_and_says_what_went() -> None:
    schema = compiled(
        free={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"known": {"type": "object"}},
        },
        map={"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        template={"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"spec": {"type": "object"}}},
    )
    obj = {
        "kind": "X",
        "metadata": {"name": "n", "nope": 1},
        "spec": {
            "free": {"any": 1, "known": {"gone": 1}},
            "map": {"k": {"a": "b", "gone": 1}},
            "template": {"kind": "K", "apiVersion": "v1", "metadata": {"name": "x"}, "gone": 1},
        },
        "gone": 1,
    }
    expected = {"gone", "metadata.nope", "spec.free.known.gone", "spec.map.k.gone", "spec.template.gone"}
    assert set(schema.unknown_fields(obj)) == expected
    assert set(schema.prune(obj)) == expected
    assert schema.unknown_fields(obj) == []
    assert obj["spec"]["free"] == {"any": 1, "known": {}}  # type: ignore[index]


def test_defaults_fill_what_is_missing_and_nulls_that_may_not_be() -> None:
    schema = compiled(a={"type": "string", "default": "x"}, b={"type": "string", "nullable": True, "default": "y"})
    assert schema.default({"spec": {"a": None, "b": None}}) == {"spec": {"a": "x", "b": None}}
    assert schema.default({}) == {}
    one, other = schema.default({"spec": {}}), schema.default({"spec": {}})
    assert one == other == {"spec": {"a": "x", "b": "y"}}


def test_a_schema_of_ordinary_size_judges_an_object_in_well_under_a_millisecond() -> None:
    schema = schema_of(golden.pair("cr create default+prune"))
    assert schema is not None
    obj = golden.pair("cr create default+prune").body
    best = 1.0
    for _ in range(20):
        begun = time.perf_counter()
        schema.unknown_fields(obj)
        schema.default(obj)
        schema.validate(obj)
        best = min(best, time.perf_counter() - begun)
    assert best < 0.001
