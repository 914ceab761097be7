from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.patch.json_patch import apply_json_patch
from kaos_ext.cluster.apiserver.patch.merge import merge_patch
from kaos_ext.cluster.apiserver.patch.strategic import strategic_patch
from kaos_ext.cluster.apiserver.schema.builtin import typed
from tests.apiserver.pure import golden

DEPLOYMENT = typed(("apps", "v1", "Deployment"))
POD = typed(("", "v1", "Pod"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), json_values, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return value


@given(objects, objects)
def test_a_merge_patch_applied_twice_is_applied_once(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(obj, patch)
    assert merge_patch(once, patch) == once


@given(objects)
def test_a_merge_patch_of_an_empty_object_is_what_it_sets(patch: dict[str, Any]) -> None:
    assert merge_patch({}, patch) == without_nulls(patch)


def test_a_merge_patch_leaves_the_old_object_alone() -> None:
    old = {"a": {"b": 1}}
    assert merge_patch(old, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert old == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/a", "value": 1}], {"a": 1, "list": [1, 2]}),
        ([{"op": "add", "path": "/list/-", "value": 3}], {"list": [1, 2, 3]}),
        ([{"op": "add", "path": "/list/0", "value": 0}], {"list": [0, 1, 2]}),
        ([{"op": "remove", "path": "/list/0"}], {"list": [2]}),
        ([{"op": "replace", "path": "/list/-1", "value": 9}], {"list": [1, 9]}),
        ([{"op": "move", "from": "/list/0", "path": "/x"}], {"list": [2], "x": 1}),
        ([{"op": "copy", "from": "/list", "path": "/x"}], {"list": [1, 2], "x": [1, 2]}),
        ([{"op": "copy", "from": "/none", "path": "/x"}], {"list": [1, 2], "x": None}),
        ([{"op": "add", "path": "/a~1b", "value": 1}], {"list": [1, 2], "a/b": 1}),
        ([{"op": "test", "path": "/list/1", "value": 2}], {"list": [1, 2]}),
        ([{"op": "test", "path": "/none", "value": None}], {"list": [1, 2]}),
    ],
)
def test_a_json_patch_does_what_its_operations_say(operations: list[dict[str, Any]], result: dict[str, Any]) -> None:
    assert apply_json_patch({"list": [1, 2]}, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/list/0", "value": True},
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/list/7", "value": 1},
        {"op": "add", "path": "/none/deeper", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
        {"op": "move", "from": "/none", "path": "/x"},
        {"op": "frobnicate", "path": "/list"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused_as_the_real_server_does(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError) as refused:
        apply_json_patch({"list": [1, 2]}, [operation])
    assert (refused.value.code, refused.value.message) == (422, golden.pair("json patch test fail").message)


def containers(*items: dict[str, Any], **directives: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(items), **directives}}}}


def test_a_strategic_patch_merges_containers_by_name() -> None:
    old = containers({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"})
    patch = containers({"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]})
    new = strategic_patch(old, patch, DEPLOYMENT)["spec"]["template"]["spec"]["containers"]
    assert new == [
        {"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        {"name": "b", "image": "1"},
    ]


def test_a_strategic_patch_deletes_replaces_and_orders() -> None:
    old = containers({"name": "a", "image": "1"}, {"name": "b", "image": "1"}, {"name": "c", "image": "1"})
    deleted = strategic_patch(old, containers({"name": "b", "$patch": "delete"}), DEPLOYMENT)
    assert [one["name"] for one in deleted["spec"]["template"]["spec"]["containers"]] == ["a", "c"]
    replaced = strategic_patch(old, containers({"name": "z"}, {"$patch": "replace"}), DEPLOYMENT)
    assert replaced["spec"]["template"]["spec"]["containers"] == [{"name": "z"}]
    order = {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}
    ordered = strategic_patch(old, containers({"name": "c"}, **order), DEPLOYMENT)
    assert [one["name"] for one in ordered["spec"]["template"]["spec"]["containers"]] == ["b", "c", "a"]


def test_a_strategic_patch_retains_only_the_keys_it_names() -> None:
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_patch(old, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_finalizers_merge_and_can_be_taken_out_one_by_one() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}
    added = strategic_patch(old, {"metadata": {"finalizers": ["c"]}}, POD)
    assert added["metadata"]["finalizers"] == ["c", "a", "b"]
    removed = strategic_patch(old, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}, POD)
    assert removed["metadata"]["finalizers"] == ["b"]


def test_lists_that_do_not_merge_are_replaced() -> None:
    old = containers({"name": "a", "args": ["1", "2"]})
    new = strategic_patch(old, containers({"name": "a", "args": ["3"]}), DEPLOYMENT)
    assert new["spec"]["template"]["spec"]["containers"][0]["args"] == ["3"]


@pytest.mark.parametrize("patch", [containers({"image": "x"}), containers({"name": "a", "$patch": "frobnicate"})])
def test_a_missing_merge_key_and_an_unknown_directive_are_internal_errors(patch: dict[str, Any]) -> None:
    with pytest.raises(PatchError) as refused:
        strategic_patch(containers({"name": "a"}), patch, DEPLOYMENT)
    assert refused.value.code == 500
