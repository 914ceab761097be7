from __future__ import annotations

import pytest

from kaos_ext.cluster.apiserver.selectors import FieldSelector, LabelSelector, SelectorError
from tests.apiserver.pure import golden


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b,c)", {}, True),
        ("a in ()", {"a": ""}, True),
        ("n>3,n<5", {"n": "4"}, True),
        ("n>3", {"n": "x"}, False),
        ("in=notin", {"in": "notin"}, True),
        ("example.com/key in (v)", {"example.com/key": "v"}, True),
    ],
)
def test_a_label_selector_chooses_by_labels(text: str, labels: dict[str, str], matches: bool) -> None:
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a===", "unable to parse requirement: found '=', expected: identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
    ],
)
def test_a_label_selector_that_cannot_be_read_says_where(text: str, why: str) -> None:
    with pytest.raises(SelectorError) as refused:
        LabelSelector.parse(text)
    assert str(refused.value) == why


def test_the_recorded_refusal_of_a_selector_is_ours() -> None:
    recorded = golden.pair("label sel invalid")
    with pytest.raises(SelectorError) as refused:
        LabelSelector.parse(recorded.query["labelSelector"])
    assert str(refused.value) == recorded.message


def test_a_selector_object_says_the_same_as_its_text() -> None:
    selector = LabelSelector.of(
        {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]}
    )
    assert selector.matches({"a": "b"})
    assert not selector.matches({"a": "b", "c": "d"})


def test_a_field_selector_reads_fields_and_their_defaults() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
    assert FieldSelector.parse("metadata.name=p,metadata.name=p,status.phase!=Failed").matches(pod)
    assert not FieldSelector.parse("spec.nodeName=").matches(pod)
    assert FieldSelector.parse("spec.unschedulable=false").matches({"spec": {}})
    assert FieldSelector.parse(r"metadata.name=a\,b").exact("metadata.name") == "a,b"


def test_fields_that_a_kind_cannot_be_selected_by_are_refused() -> None:
    FieldSelector.parse("status.phase=Running,metadata.name=x").check("", "Pod")
    FieldSelector.parse("spec.color=red").check("ex.dev", "Gadget", custom=True, selectable=("spec.color",))
    with pytest.raises(SelectorError) as refused:
        FieldSelector.parse("spec.size=1").check("ex.dev", "Gadget", custom=True)
    assert str(refused.value) == golden.pair("field sel unsupported").message
