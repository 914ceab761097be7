"""Objects over HTTP: written, read, refused, as a real API server does it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.apiserver.conftest import CMS, Http, config_map


async def test_an_object_reads_back_as_it_was_answered(http: Http) -> None:
    made = await http.post(CMS, config_map("a", data={"x": "1"}))
    assert made.status == 201
    assert made.headers["Content-Type"] == "application/json"
    read = await http.get(f"{CMS}/a")
    assert read.body == made.body
    assert read.body["metadata"]["managedFields"][0]["manager"] == "tests"


async def test_a_second_object_of_the_same_name_is_refused(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    refused = await http.post(CMS, config_map("a"))
    assert (refused.status, refused.body["reason"]) == (409, "AlreadyExists")
    assert refused.body["details"] == {"name": "a", "kind": "configmaps"}


async def test_of_two_writers_from_the_same_version_only_one_wins(http: Http) -> None:
    made = (await http.post(CMS, config_map("a"))).body
    answers = await asyncio.gather(*(http("PUT", f"{CMS}/a", {**made, "data": {"by": str(n)}}) for n in range(5)))
    assert sorted(one.status for one in answers) == [200, 409, 409, 409, 409]
    winner = next(one.body for one in answers if one.status == 200)
    assert (await http.get(f"{CMS}/a")).body == winner


async def test_changes_of_one_object_at_once_are_all_kept(http: Http) -> None:
    await http.post(CMS, config_map("a", data={}))
    answers = await asyncio.gather(*(http.merge(f"{CMS}/a", {"data": {f"k{n}": "v"}}) for n in range(20)))
    assert {one.status for one in answers} == {200}
    assert len((await http.get(f"{CMS}/a")).body["data"]) == 20


async def test_a_write_that_changes_nothing_keeps_the_version(http: Http) -> None:
    made = (await http.post(CMS, config_map("a", data={"x": "1"}))).body
    same = await http.merge(f"{CMS}/a", {"data": {"x": "1"}})
    assert same.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    put = await http("PUT", f"{CMS}/a", made)
    assert put.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_dry_run_answers_as_if_and_keeps_nothing(http: Http) -> None:
    answer = await http.post(f"{CMS}?dryRun=All", config_map("a"))
    assert answer.status == 201
    assert answer.body["metadata"]["uid"]
    assert (await http.get(f"{CMS}/a")).status == 404


async def test_generated_names_differ(http: Http) -> None:
    answers = [await http.post(CMS, {"metadata": {"generateName": "g-"}}) for _ in range(3)]
    names = {one.body["metadata"]["name"] for one in answers}
    assert len(names) == 3
    assert all(name.startswith("g-") and len(name) == 7 for name in names)


async def test_a_finalizer_holds_a_deleted_object_until_it_goes(http: Http) -> None:
    await http.post(CMS, config_map("a", metadata={"finalizers": ["example.dev/hold"]}))
    held = await http("DELETE", f"{CMS}/a")
    assert held.body["metadata"]["deletionTimestamp"]
    again = await http.post(CMS, config_map("a"))
    assert again.body["message"] == 'object is being deleted: configmaps "a" already exists'
    await http.merge(f"{CMS}/a", {"metadata": {"finalizers": None}})
    assert (await http.get(f"{CMS}/a")).status == 404


async def test_an_object_gone_at_once_is_answered_with_its_uid(http: Http) -> None:
    made = (await http.post(CMS, config_map("a"))).body
    gone = await http("DELETE", f"{CMS}/a")
    assert gone.body["status"] == "Success"
    assert gone.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_a_deletion_for_another_uid_is_refused(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    refused = await http("DELETE", f"{CMS}/a", {"preconditions": {"uid": "other"}})
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert (await http.get(f"{CMS}/a")).status == 200


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_dependents_are_seen_to_before_their_owner_goes(http: Http, policy: str, finalizer: str) -> None:
    await http.post(CMS, config_map("a"))
    held = await http("DELETE", f"{CMS}/a", {"propagationPolicy": policy})
    assert held.body["metadata"]["finalizers"] == [finalizer]


async def test_all_that_match_a_selector_are_deleted(http: Http) -> None:
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        await http.post(CMS, config_map(name, metadata={"labels": {"team": team}}))
    await http("DELETE", f"{CMS}?labelSelector=team%3Dx")
    left = (await http.get(CMS)).body["items"]
    assert [one["metadata"]["name"] for one in left] == ["c"]


async def test_pages_of_a_list_show_it_as_it_was_when_it_began(http: Http) -> None:
    for n in range(5):
        await http.post(CMS, config_map(f"n{n}"))
    first = (await http.get(f"{CMS}?limit=2")).body
    assert first["metadata"]["remainingItemCount"] == 3
    await http("DELETE", f"{CMS}/n3")
    await http.post(CMS, config_map("n9"))
    names: list[str] = [one["metadata"]["name"] for one in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        page = (await http.get(f"{CMS}?limit=2&continue={token}")).body
        names += [one["metadata"]["name"] for one in page["items"]]
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        token = page["metadata"].get("continue")
    assert names == ["n0", "n1", "n2", "n3", "n4"]


async def test_a_list_at_an_exact_older_version_is_as_it_was(http: Http) -> None:
    await http.post(CMS, config_map("a"))
    then = (await http.get(CMS)).body["metadata"]["resourceVersion"]
    await http("DELETE", f"{CMS}/a")
    await http.post(CMS, config_map("b"))
    old = (await http.get(f"{CMS}?resourceVersion={then}&resourceVersionMatch=Exact")).body
    assert [one["metadata"]["name"] for one in old["items"]] == ["a"]


async def test_a_version_from_the_future_is_refused_with_a_time_to_retry(http: Http) -> None:
    refused = await http.get(f"{CMS}?resourceVersion=99999999")
    assert (refused.status, refused.body["reason"]) == (504, "Timeout")
    assert refused.headers["Retry-After"] == "1"


async def test_nothing_is_created_in_a_namespace_that_is_missing_or_going(http: Http) -> None:
    missing = await http.post("/api/v1/namespaces/nope/configmaps", config_map("a"))
    assert (missing.status, missing.body["message"]) == (404, 'namespaces "nope" not found')
    await http.post("/api/v1/namespaces", {"metadata": {"name": "n"}})
    await http("DELETE", "/api/v1/namespaces/n")
    going = await http.post("/api/v1/namespaces/n/configmaps", config_map("a"))
    assert going.status == 403
    assert going.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_namespace_goes_when_its_finalizer_does(http: Http) -> None:
    made = (await http.post("/api/v1/namespaces", {"metadata": {"name": "n"}})).body
    assert made["spec"]["finalizers"] == ["kubernetes"]
    marked = (await http("DELETE", "/api/v1/namespaces/n")).body
    assert marked["status"]["phase"] == "Terminating"
    marked["spec"]["finalizers"] = []
    assert (await http("PUT", "/api/v1/namespaces/n/finalize", marked)).status == 200
    assert (await http.get("/api/v1/namespaces/n")).status == 404


async def test_the_system_namespaces_may_not_be_deleted(http: Http) -> None:
    assert (await http("DELETE", "/api/v1/namespaces/kube-system")).status == 403


async def test_unknown_fields_are_refused_when_strict_warned_about_else_and_never_kept(http: Http) -> None:
    body = {**config_map("a"), "nope": 1}
    strict = await http.post(f"{CMS}?fieldValidation=Strict", body)
    assert strict.status == 400
    assert 'unknown field "nope"' in strict.body["message"]
    warned = await http.post(CMS, body)
    assert warned.status == 201
    assert warned.headers.getall("Warning") == ['299 - "unknown field \\"nope\\""']
    assert "nope" not in warned.body


async def test_secrets_show_only_encoded_data(http: Http) -> None:
    made = await http.post("/api/v1/namespaces/default/secrets", config_map("s", stringData={"k": "v"}))
    assert made.body["data"] == {"k": "dg=="}
    assert "stringData" not in made.body


async def test_a_yaml_body_is_read_and_yaml_is_answered(http: Http) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: b}\n"
    made = await http("POST", CMS, text, content_type="application/yaml", accept="application/yaml")
    assert made.status == 201
    assert "name: y" in made.body


async def test_a_body_that_is_too_large_is_refused(http: Http) -> None:
    refused = await http.post(CMS, config_map("a", data={"x": "y" * (3 * 1024 * 1024)}))
    assert (refused.status, refused.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_table_has_the_columns_kubectl_shows(http: Http) -> None:
    await http.post(CMS, config_map("a", data={"x": "1"}))
    table = (await http.get(CMS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 1]


async def test_bare_metadata_can_be_asked_for(http: Http) -> None:
    await http.post(CMS, config_map("a", data={"x": "1"}))
    partial = (await http.get(f"{CMS}/a", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")).body
    assert partial["kind"] == "PartialObjectMetadata"
    assert "data" not in partial


async def test_an_event_of_either_api_is_seen_in_both(http: Http) -> None:
    event: dict[str, Any] = {
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "n",
        "reason": "R",
        "action": "A",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c",
        "reportingInstance": "i",
    }
    assert (await http.post("/apis/events.k8s.io/v1/namespaces/default/events", event)).status == 201
    core = (await http.get("/api/v1/namespaces/default/events/e")).body
    assert (core["message"], core["involvedObject"]["name"]) == ("n", "p")
    new = (await http.get("/apis/events.k8s.io/v1/namespaces/default/events/e")).body
    assert (new["note"], new["apiVersion"]) == ("n", "events.k8s.io/v1")


async def test_discovery_lists_what_is_served_in_both_forms(http: Http) -> None:
    legacy = (await http.get("/api/v1")).body
    assert {"pods", "pods/log", "services/proxy"} <= {one["name"] for one in legacy["resources"]}
    media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    aggregated = await http.get("/apis", accept=f"{media},application/json")
    assert aggregated.headers["Content-Type"] == media
    again = await http.get("/apis", accept=media, headers={"If-None-Match": aggregated.headers["ETag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/foo", 404),
        ("GET", "/apis/nope.dev/v1/things", 404),
        ("GET", "/api/v1/namespaces/default/nopes", 404),
        ("PUT", CMS, 405),
        ("POST", f"{CMS}/a", 405),
        ("POST", "/api/v1/configmaps", 405),
    ],
)
async def test_paths_and_methods_that_do_not_exist(http: Http, method: str, path: str, status: int) -> None:
    assert (await http(method, path, {} if method != "GET" else None)).status == status


async def test_what_is_unknown_and_what_comes_twice_are_told_in_the_order_of_the_body(http: Http) -> None:
    pod = '{"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}'
    spec = f'"selector": {{"matchLabels": {{"a": "b"}}}}, "template": {pod}'
    for inside, words in (
        ('"more": 1, "replicas": 1, "replicas": 2', 'unknown field "spec.more", duplicate field "spec.replicas"'),
        ('"replicas": 1, "replicas": 2, "more": 1', 'duplicate field "spec.replicas", unknown field "spec.more"'),
    ):
        body = f'{{"metadata": {{"name": "d"}}, "spec": {{{inside}, {spec}}}}}'
        path = "/apis/apps/v1/namespaces/default/deployments?fieldValidation=Strict"
        refused = await http.post(path, body.encode())
        assert refused.status == 400
        assert refused.body["message"].endswith(f"strict decoding error: {words}")
