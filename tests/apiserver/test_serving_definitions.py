"""CustomResourceDefinitions: served as soon as established, by their schemas, until they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.apiserver.conftest import CRDS, WIDGET_PATH, WIDGETS, Http, Running, next_of, serve_widgets, until

NAME = f"{CRDS}/widgets.example.dev"


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.dev/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


async def test_objects_are_defaulted_pruned_and_validated(http: Http) -> None:
    await serve_widgets(http)
    made = await http.post(WIDGET_PATH, widget(junk=1))
    assert made.status == 201
    assert made.body["spec"] == {"size": 1, "mode": "slow", "replicas": 1}
    refused = await http.post(WIDGET_PATH, widget("v", size=99))
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert refused.body["details"]["causes"][0]["field"] == "spec.size"


async def test_status_and_spec_are_written_apart(http: Http) -> None:
    await serve_widgets(http)
    made = (await http.post(WIDGET_PATH, {**widget(), "status": {"phase": "X"}})).body
    assert "status" not in made
    both = {"spec": {"size": 5}, "status": {"phase": "Ready"}}
    state = (await http.merge(f"{WIDGET_PATH}/w/status", both)).body
    assert (state["spec"]["size"], state["status"], state["metadata"]["generation"]) == (1, {"phase": "Ready"}, 1)
    spec = (await http.merge(f"{WIDGET_PATH}/w", {**both, "status": {"phase": "Y"}})).body
    assert (spec["spec"]["size"], spec["status"], spec["metadata"]["generation"]) == (5, {"phase": "Ready"}, 2)


async def test_scale_reads_and_writes_the_declared_paths(http: Http) -> None:
    await serve_widgets(http)
    await http.post(WIDGET_PATH, widget())
    scaled = (await http.merge(f"{WIDGET_PATH}/w/scale", {"spec": {"replicas": 4}})).body
    assert (scaled["kind"], scaled["spec"]) == ("Scale", {"replicas": 4})
    assert (await http.get(f"{WIDGET_PATH}/w")).body["spec"]["replicas"] == 4


async def test_columns_of_a_table_are_those_declared(http: Http) -> None:
    await serve_widgets(http)
    await http.post(WIDGET_PATH, widget(size=7))
    table = (await http.get(WIDGET_PATH, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
    assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Size"]
    assert table["rows"][0]["cells"] == ["w", 7]


async def test_a_strategic_patch_is_not_for_custom_objects(http: Http) -> None:
    await serve_widgets(http)
    await http.post(WIDGET_PATH, widget())
    refused = await http("PATCH", f"{WIDGET_PATH}/w", {}, content_type="application/strategic-merge-patch+json")
    assert refused.status == 415


async def test_an_applier_keeps_what_others_own(http: Http) -> None:
    await serve_widgets(http)
    media = "application/apply-patch+yaml"
    first = await http("PATCH", f"{WIDGET_PATH}/w?fieldManager=one", widget(mode="a"), content_type=media)
    assert first.status == 201
    other = {**widget(), "spec": {"size": 1, "replicas": 3}}
    both = await http("PATCH", f"{WIDGET_PATH}/w?fieldManager=two", other, content_type=media)
    assert both.body["spec"] == {"size": 1, "mode": "a", "replicas": 3}
    clash = await http("PATCH", f"{WIDGET_PATH}/w?fieldManager=two", widget(mode="b"), content_type=media)
    assert (clash.status, clash.body["details"]["causes"][0]["field"]) == (409, ".spec.mode")


async def test_a_newer_schema_defaults_what_was_stored_before(http: Http) -> None:
    await serve_widgets(http)
    await http.post(WIDGET_PATH, widget())
    color = {"type": "string", "default": "red"}
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/color"
    patch = [{"op": "add", "path": path, "value": color}]
    changed = await http("PATCH", NAME, patch, content_type="application/json-patch+json")
    assert changed.status == 200
    assert (await http.get(f"{WIDGET_PATH}/w")).body["spec"]["color"] == "red"


async def test_discovery_and_openapi_learn_of_it(http: Http) -> None:
    await serve_widgets(http)
    groups = (await http.get("/apis")).body["groups"]
    assert "example.dev" in [one["name"] for one in groups]
    assert "apis/example.dev/v1" in (await http.get("/openapi/v3")).body["paths"]
    document = (await http.get("/openapi/v3/apis/example.dev/v1")).body
    patch = document["paths"]["/apis/example.dev/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "fieldValidation" in [one["name"] for one in patch["parameters"]]
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]


async def test_deleting_it_deletes_its_objects_and_ends_their_watches(http: Http, running: Running) -> None:
    await serve_widgets(http)
    await http.post(WIDGET_PATH, widget())
    events = http.watch(f"{WIDGET_PATH}?watch=1")
    assert (await next_of(events))["type"] == "ADDED"
    await http("DELETE", NAME)
    assert (await next_of(events))["type"] == "DELETED"
    assert await anext(events, None) is None
    await until(lambda: running.server.registry.find("example.dev", "v1", "widgets") is None)
    assert (await http.get(WIDGET_PATH)).status == 404
    assert (await http.get(NAME)).status == 404


async def test_a_name_that_is_taken_is_not_served_until_it_is_free(http: Http, running: Running) -> None:
    await serve_widgets(http)
    names = {"plural": "wodgets", "kind": "Widget"}
    second = {**WIDGETS, "metadata": {"name": "wodgets.example.dev"}, "spec": {**WIDGETS["spec"], "names": names}}  # type: ignore[dict-item]
    assert (await http.post(CRDS, second)).status == 201
    await until(lambda: _accepted(running, "wodgets.example.dev") == "False")
    assert running.server.registry.find("example.dev", "v1", "wodgets") is None
    await http("DELETE", NAME)
    await until(lambda: running.server.registry.find("example.dev", "v1", "wodgets"))


def _accepted(running: Running, name: str) -> str:
    stored = running.server.storage.collection("apiextensions.k8s.io/customresourcedefinitions").get("", name)
    conditions = ((stored.object.get("status") or {}).get("conditions") or []) if stored else []
    return next((one["status"] for one in conditions if one["type"] == "NamesAccepted"), "")


async def test_a_restart_serves_it_at_once(start: Callable[[], Any]) -> None:
    first: Running = await start()
    await serve_widgets(first.http)
    await first.http.post(WIDGET_PATH, widget())
    await first.server.stop()
    second: Running = await start()
    assert (await second.http.get(f"{WIDGET_PATH}/w")).body["spec"]["mode"] == "slow"
