"""Rules in CEL: what they mean, how they are checked, how they judge objects and changes."""

from __future__ import annotations

from typing import Any

import pytest

from kaos_ext.cluster.apiserver.cel.check import Check
from kaos_ext.cluster.apiserver.cel.definition import definition_errors
from kaos_ext.cluster.apiserver.cel.evaluator import EvaluationError, Program, optional
from kaos_ext.cluster.apiserver.cel.rules import Judge
from kaos_ext.cluster.apiserver.cel.syntax import CelSyntaxError, parse
from kaos_ext.cluster.apiserver.cel.types import escaped, type_of

SELF = {"a": 1, "list": [1, 2], "map": {"x": "v"}, "text": "äx", "one": 1.5}

MEANINGS: list[tuple[str, Any]] = [
    ("self.a + 2 * 3 - 1", 6),
    ("has(self.gone) || self.a == 1", True),
    ("!has(self.gone) && -self.a < 0", True),
    ("self.a > 5 ? 'big' : 'small'", "small"),
    ("self.list.all(x, x > 0) && self.list.exists(x, x == 2)", True),
    ("self.list.exists_one(x, x > 1)", True),
    ("self.list.map(x, x * 2).filter(x, x > 2)", [4]),
    ("self.map.all(k, self.map[k] == 'v')", True),
    ("2 in self.list && 'x' in self.map", True),
    ("size(self.text) + self.text.size() + size(self.list)", 6),
    ("self.text.matches('^ä') && 'abc'.contains('b') && 'abc'.endsWith('c')", True),
    ("'A-b'.lowerAscii() + 'c'.upperAscii()", "a-bC"),
    ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
    ("['a', 'b'].join('-') + ' x '.trim()", "a-bx"),
    ("'hello'.substring(1, 3) + 'hello'.charAt(0)", "elh"),
    ("'hello'.indexOf('l') + 'hello'.lastIndexOf('l')", 5),
    ("'a.b'.replace('.', '-')", "a-b"),
    ("'abc123'.find('[0-9]+')", "123"),
    ("'%s is %d'.format(['x', 3])", "x is 3"),
    ("self.list.sum() == 3 && self.list.isSorted() && self.list.max() == 2", True),
    ("quantity('1Gi').isGreaterThan(quantity('1000Mi'))", True),
    ("quantity('500m').add(quantity('0.5')).compareTo(quantity('1')) == 0", True),
    ("isQuantity('x') || isURL('no url') || isIP('1.2.3')", False),
    ("url('https://u@h.example:8443/p').getHostname() + url('https://h:1/p').getPort()", "h.example1"),
    ("ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3')", True),
    ("duration('1h') > duration('30m')", True),
    ("timestamp('2026-01-01T00:00:00Z').getFullYear()", 2026),
    ("self.?gone.orValue(7) + self.?a.orValue(7)", 8),
    ("self.map[?'x'].hasValue() && !self.map[?'y'].hasValue()", True),
    ("cel.bind(n, self.a + 1, n * n)", 4),
    ("sets.contains([1, 2], [2]) && !sets.intersects([1], [2])", True),
    ("self.list.all(i, v, v == i + 1)", True),
    ("type(self.a) == int && string(self.a) == '1' && int('4') == 4", True),
    ("self.list[1] == 2 // a comment", True),
    ("r'\\d' == '\\\\d'", True),
]


@pytest.mark.parametrize(("text", "value"), MEANINGS)
def test_an_expression_means(text: str, value: Any) -> None:
    tree = parse(text)
    assert Program(tree).run({"self": SELF}) == value
    check = Check([])
    check.estimate(tree, {"self": type_of({"x-kubernetes-int-or-string": True})})
    assert check.complaints == []


def test_what_is_not_there_cannot_be_evaluated() -> None:
    with pytest.raises(EvaluationError, match="no such key: gone"):
        Program(parse("self.gone > 1")).run({"self": SELF})


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("1 +", 3),
        ("foo(", 4),
        ("a.b.c d", 6),
        ("self.", 5),
        ("a ? b", 5),
        ("", 0),
        ("#", 0),
        ("a && ", 5),
        ("[1, 2", 5),
    ],
)
def test_what_is_no_expression_is_refused_where_it_ends_to_be_one(text: str, position: int) -> None:
    with pytest.raises(CelSyntaxError) as refused:
        parse(text)
    assert refused.value.position == position


@pytest.mark.parametrize(
    ("name", "written"),
    [("a", "a"), ("a-b", "a__dash__b"), ("a.b", "a__dot__b"), ("a__b", "a__underscores__b"), ("in", "__in__")],
)
def test_a_property_has_a_name_that_can_be_written(name: str, written: str) -> None:
    assert escaped(name) == written


def schema(rules: list[dict[str, Any]], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {
        "type": "object", "properties": properties, "x-kubernetes-validations": rules}}}  # fmt: skip


def refusals(judged: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    before = None if old is None else {"spec": old}
    return [str(one) for one in Judge(judged).judge({"spec": new}, before)]


INT, TEXT = {"type": "integer"}, {"type": "string"}


def test_a_rule_judges_the_place_it_is_written_at() -> None:
    judged = schema([{"rule": "self.min <= self.max", "message": "min is above max"}], min=INT, max=INT)
    assert refusals(judged, {"min": 1, "max": 2}) == []
    assert refusals(judged, {"min": 3, "max": 2}) == ["spec: Invalid value: min is above max"]


def test_a_rule_without_words_shows_itself() -> None:
    judged = schema([], n={**INT, "x-kubernetes-validations": [{"rule": " self > 1 "}]})
    assert refusals(judged, {"n": 1}) == ["spec.n: Invalid value: 1: failed rule: self > 1"]


def test_reason_place_and_words_are_the_rules_own() -> None:
    rule = {"rule": "self.n > 1", "messageExpression": "'n is ' + string(self.n)", "fieldPath": ".n"}
    for reason, words in (
        ("FieldValueForbidden", "spec.n: Forbidden: n is 1"),
        ("FieldValueRequired", "spec.n: Required value: n is 1"),
    ):
        assert refusals(schema([{**rule, "reason": reason}], n=INT), {"n": 1}) == [words]


def test_a_message_that_cannot_be_made_gives_way_to_the_plain_one() -> None:
    judged = schema([{"rule": "false", "messageExpression": "self.gone", "message": "no"}], n=INT)
    assert refusals(judged, {"n": 1}) == ["spec: Invalid value: no"]


def test_an_error_is_a_refusal() -> None:
    judged = schema([{"rule": "self.n > 1"}], n=INT)
    assert refusals(judged, {}) == ["spec: Invalid value: no such key: n evaluating rule: self.n > 1"]


def test_a_transition_judges_changes_only() -> None:
    fixed = [{"rule": "self == oldSelf", "message": "is immutable"}]
    judged = schema([], name={**TEXT, "x-kubernetes-validations": fixed})
    assert refusals(judged, {"name": "a"}) == []
    assert refusals(judged, {"name": "a"}, {}) == []
    assert refusals(judged, {"name": "a"}, {"name": "a"}) == []
    assert refusals(judged, {"name": "b"}, {"name": "a"}) == ['spec.name: Invalid value: "b": is immutable']


def test_an_optional_old_self_judges_creation_too() -> None:
    rule = {"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": True, "message": "starts at 1"}
    judged = schema([rule], n=INT)
    assert refusals(judged, {"n": 2}) == ["spec: Invalid value: starts at 1"]
    assert refusals(judged, {"n": 2}, {"n": 1}) == []


def test_entries_of_a_keyed_list_meet_their_older_selves() -> None:
    entry = {
        "type": "object",
        "properties": {"k": TEXT, "v": INT},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "only grows"}],
    }
    keyed = {"type": "array", "items": entry, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    before, after = [{"k": "a", "v": 2}, {"k": "b", "v": 1}], [{"k": "b", "v": 5}, {"k": "a", "v": 1}]
    assert refusals(schema([], list=keyed), {"list": after}, {"list": before}) == [
        "spec.list[1]: Invalid value: only grows"
    ]
    plain = {**keyed, "x-kubernetes-list-type": "atomic"}
    assert refusals(schema([], list=plain), {"list": after}, {"list": before}) == []


def test_what_did_not_change_is_not_judged_again() -> None:
    judged = schema([], n={**INT, "x-kubernetes-validations": [{"rule": "self > 1"}]}, other=INT)
    assert refusals(judged, {"n": 1, "other": 2}, {"n": 1, "other": 1}) == []
    assert len(refusals(judged, {"n": 0, "other": 2}, {"n": 1, "other": 1})) == 1


def test_maps_are_judged_by_their_keys() -> None:
    texts = {"type": "object", "additionalProperties": {**TEXT, "x-kubernetes-validations": [{"rule": "self != ''"}]}}
    assert refusals(schema([], m=texts), {"m": {"x": ""}}) == [
        "spec.m[x]: Invalid value: \"\": failed rule: self != ''"
    ]


def test_the_root_shows_its_name() -> None:
    judged = {"type": "object", "properties": {}, "x-kubernetes-validations": [{"rule": "self.metadata.name == 'a'"}]}
    fine = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "labels": {"b": "c"}}}
    assert Judge(judged).judge(fine, None) == []


# ---- definitions


def complaints(rule: str, **properties: Any) -> list[str]:
    return [one.message for one in definition_errors(schema([{"rule": rule}], **properties), "s")]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.zz > 1", "ERROR: <input>:1:5: undefined field 'zz'\n | self.zz > 1\n | ....^"),
        ("zelf.n > 1", "ERROR: <input>:1:1: undeclared reference to 'zelf' (in container '')"),
        ("self.n.foo == 1", "type 'int' does not support field selection"),
        ("self.n.frob()", "undeclared reference to 'frob' (in container '')"),
        ("self.n + 1", "cel expression must evaluate to a bool"),
        ("self.n >", "Syntax error: mismatched input '<EOF>'"),
        ("self.list.all(x, x.y)", "type 'int' does not support field selection"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_when_it_is_written(rule: str, words: str) -> None:
    found = complaints(rule, n=INT, list={"type": "array", "items": INT})
    assert len(found) == 1
    assert words in found[0]


def test_a_rule_that_may_cost_too_much_is_refused() -> None:
    rule = "self.list.all(x, self.list.all(y, x == y))"
    many = complaints(rule, list={"type": "array", "items": TEXT})
    assert "exceeds budget by factor of more than 100x" in many[0]
    few = {"type": "array", "maxItems": 10, "items": {**TEXT, "maxLength": 20}}
    assert complaints(rule, list=few) == []


def test_costs_count_once_for_each_place_a_rule_can_stand_at() -> None:
    inner = {"type": "object", "properties": {"t": TEXT}, "x-kubernetes-validations": [{"rule": "self.t != 'a'"}]}
    assert complaints("true", list={"type": "array", "maxItems": 5, "items": inner}) == []
    texts = {**inner, "x-kubernetes-validations": [{"rule": "self.t.contains(self.t + 'a')"}]}
    assert complaints("true", list={"type": "array", "items": texts})


def test_optionals_come_from_the_evaluator() -> None:
    assert optional(1).value() == 1
    assert not optional().has_value()
