"""Health and metrics: what a monitor asks for, in the real server's words, and only for those who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kaos_ext.cluster.apiserver.health import READY, Health
from kaos_ext.store import FullError, StoreError
from tests.apiserver.conftest import CMS, WIDGET_PATH, Http, Running, config_map, next_of, serve_widgets


async def scraped(http: Http, path: str = "/metrics") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await http.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for found in text_string_to_metric_families(answer.body)
        for sample in found.samples
    }


def one(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, /, **labels: str) -> float:
    """The one sample with these labels among its own."""
    found = [
        value for (called, own), value in samples.items() if called == name and labels.items() <= dict(own).items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def closed(events: AsyncIterator[Any]) -> None:
    assert isinstance(events, AsyncGenerator)
    await events.aclose()


async def test_every_request_is_counted_under_its_resource_verb_scope_and_code(http: Http) -> None:
    await serve_widgets(http)
    await http.post(CMS, config_map("a"))
    await http.post(CMS, config_map("a"))
    await http.get(f"{CMS}/a")
    await http.get(CMS)
    await http.get("/api/v1/configmaps")
    await http.merge(f"{CMS}/a", {"data": {"x": "1"}})
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "1"}}
    await http("PATCH", f"{CMS}/a?fieldManager=me&dryRun=All", apply, content_type="application/apply-patch+yaml")
    await http("DELETE", f"{CMS}/a")
    await http("DELETE", CMS)
    await http.get(WIDGET_PATH)
    for path in ("/readyz", "/apis", "/nothing/of/the/kind"):
        await http.get(path)
    samples = await scraped(http)

    def requests(**labels: str) -> float:
        return one(samples, "apiserver_request_total", **labels)

    maps = {"group": "", "version": "v1", "resource": "configmaps", "subresource": "", "component": "apiserver"}
    assert requests(verb="POST", code="201", scope="resource", **maps) == 1
    assert requests(verb="POST", code="409", scope="resource", **maps) == 1
    assert requests(verb="GET", code="200", scope="resource", **maps) == 1
    assert requests(verb="LIST", code="200", scope="namespace", **maps) == 1
    assert requests(verb="LIST", code="200", scope="cluster", **maps) == 1
    assert requests(verb="PATCH", code="200", scope="resource", **maps) == 1
    assert requests(verb="APPLY", code="200", scope="resource", dry_run="All", **maps) == 1
    assert requests(verb="DELETE", code="200", scope="resource", **maps) == 1
    assert requests(verb="DELETECOLLECTION", code="200", scope="namespace", **maps) == 1
    assert requests(verb="LIST", group="example.dev", resource="widgets", code="200") == 1
    assert requests(verb="GET", subresource="/readyz", code="200", component="") == 1
    assert requests(verb="GET", subresource="apis", code="200") == 1
    assert requests(verb="GET", subresource="", resource="", code="404") == 1
    took = {"verb": "POST", "resource": "configmaps"}
    assert one(samples, "apiserver_request_duration_seconds_count", **took) == 2
    assert one(samples, "apiserver_request_duration_seconds_bucket", le="+Inf", **took) == 2
    assert 0 < one(samples, "apiserver_request_duration_seconds_sum", **took) < 60


async def test_what_is_open_is_a_gauge_that_goes_back(running: Running) -> None:
    http = running.http
    events = http.watch(f"{CMS}?watch=1")
    waiting = asyncio.create_task(next_of(events))
    await http.post(CMS, config_map("a"))
    await asyncio.wait_for(waiting, 5)
    samples = await scraped(http)
    watch = {"verb": "WATCH", "resource": "configmaps", "scope": "namespace"}
    assert one(samples, "apiserver_longrunning_requests", **watch) == 1
    assert one(samples, "apiserver_registered_watchers", resource="configmaps") == 1
    assert one(samples, "apiserver_current_inflight_requests", request_kind="readOnly") == 1, "this one"
    assert one(samples, "apiserver_current_inflight_requests", request_kind="mutating") == 0
    await closed(events)
    deadline = asyncio.get_running_loop().time() + 5
    while one(await scraped(http), "apiserver_longrunning_requests", **watch):
        assert asyncio.get_running_loop().time() < deadline


async def test_a_watch_by_its_old_path_counts_as_a_watch(http: Http) -> None:
    await http.get("/api/v1/watch/namespaces/default/configmaps?timeoutSeconds=1")
    watch = {"verb": "WATCH", "resource": "configmaps", "scope": "namespace", "code": "200"}
    assert one(await scraped(http), "apiserver_request_total", **watch) == 1


async def test_storage_commits_and_the_process_are_measured(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    http = running.http
    before = await scraped(http)
    await asyncio.gather(*(http.post(CMS, config_map(f"n{n}")) for n in range(5)))
    after = await scraped(http)
    assert one(after, "apiserver_resource_objects", resource="configmaps") == 5
    assert one(after, "apiserver_storage_objects", resource="configmaps") == 5
    assert one(after, "apiserver_storage_size_bytes") > 4096
    assert one(after, "embedded_store_disk_free_bytes") > 0
    name = "embedded_store_commit_rows_sum"
    assert one(after, name) - one(before, name) == 5
    assert one(after, "embedded_store_commit_duration_seconds_count") > 0
    assert one(after, "process_resident_memory_bytes") > 10_000_000
    assert one(after, "process_cpu_seconds_total") > 0

    def full(rows: Any, **_: Any) -> list[int]:
        raise FullError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(running.server.storage.log, "append", full)
        await http.post(CMS, config_map("b"))
    assert one(await scraped(http), "embedded_store_commit_failures_total", reason="no_space") == 1


async def test_what_clients_make_up_adds_no_metrics(http: Http) -> None:
    await http.get("/nothing")
    await http.get("/apis/none/v1/things")
    await scraped(http)
    before = len(await scraped(http))
    for number in range(20):
        await http.get(f"/nothing{number}")
        await http.get(f"/apis/none{number}/v1/things")
        await http.get(f"{CMS}/none{number}")
    assert len(await scraped(http)) - before < 30, "one more series: a configmap that is not there"


async def test_health_in_the_words_of_the_real_server(http: Http) -> None:
    for endpoint in ("healthz", "livez", "readyz"):
        assert (await http.get(f"/{endpoint}")).body == "ok"
        said = (await http.get(f"/{endpoint}?verbose")).body
        assert said.startswith("[+]ping ok\n[+]log ok\n[+]etcd ok\n")
        assert "[+]poststarthook/rbac/bootstrap-roles ok\n" in said
        assert said.endswith(f"\n{endpoint} check passed\n")
        assert (await http.get(f"/{endpoint}/etcd")).body == "ok"
        assert (await http.get(f"/{endpoint}/poststarthook/rbac/bootstrap-roles?verbose")).body == "ok"
        for missing in ("nosuch", "etcd/", "ping/x", ""):
            answer = await http.get(f"/{endpoint}/{missing}")
            assert (answer.status, answer.body) == (404, "404 page not found\n"), missing
    assert (await http.get("/livez/informer-sync")).status == 404
    said = (await http.get("/readyz?verbose&exclude=etcd&exclude=nosuch")).body
    assert "[+]etcd excluded: ok\n" in said
    assert said.endswith(
        '[+]shutdown ok\nwarn: some health checks cannot be excluded: no matches for "nosuch"\nreadyz check passed\n'
    )
    assert (await http.get("/readyz?exclude=nosuch")).body == "ok"
    paths = (await http.get("/")).body["paths"]
    assert {"/readyz/etcd", "/livez/ping", "/metrics/slis"} <= set(paths)


async def test_a_storage_that_cannot_write_is_not_ready_until_it_can(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    http, log = running.http, running.server.storage.log

    def broken(*_: Any, **__: Any) -> Any:
        raise StoreError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(log, "append", broken)
        patched.setattr(log, "set_meta", broken)
        assert (await http.post(CMS, config_map("a"))).status == 500
        for endpoint in ("readyz", "livez", "healthz"):
            answer = await http.get(f"/{endpoint}")
            assert answer.status == 500
            assert "[-]etcd failed: reason withheld\n" in answer.body
            assert answer.body.endswith(f"{endpoint} check failed\n")
        alone = await http.get("/readyz/etcd")
        assert (alone.status, alone.body) == (500, "internal server error: disk I/O error\n")
        assert (await http.get("/readyz?exclude=etcd&exclude=etcd-readiness")).body == "ok"
        samples = await scraped(http, "/metrics/slis")
        assert one(samples, "kubernetes_healthcheck", name="etcd", type="readyz") == 0
        assert one(samples, "kubernetes_healthcheck", name="ping", type="readyz") == 1
    assert (await http.get("/readyz")).status == 200, "without a write that somebody asks for"


async def test_a_part_of_the_start_that_is_not_over_is_not_ready() -> None:
    async def well() -> str:
        return ""

    health = Health({"etcd": well, "etcd-readiness": well})
    health.done(*READY)
    said = await health.answer("/readyz", "")
    assert said is not None and said.status == 200
    health.undone("shutdown")
    said = await health.answer("/readyz", "")
    assert said is not None and said.status == 500 and "[-]shutdown failed: reason withheld" in said.text


async def test_only_who_may_monitor_reads_metrics(running: Running) -> None:
    http = running.http
    names = "/api/v1/namespaces/default/serviceaccounts"
    await http.post(names, {"metadata": {"name": "prometheus"}})
    made = await http.post(f"{names}/prometheus/token", {"spec": {}})
    token = made.body["status"]["token"]
    for path in ("/metrics", "/metrics/slis", "/readyz/etcd"):
        refused = await http.get(path, token=token)
        assert refused.status == 403
        assert refused.body["message"] == (
            f'forbidden: User "system:serviceaccount:default:prometheus" cannot get path "{path}"'
        )
    assert (await http.get("/readyz", token=token)).status == 200, "everyone who is somebody may ask that"
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    binding = {
        "metadata": {"name": "monitoring"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:monitoring"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "prometheus"}],
    }
    assert (await http.post(bindings, binding)).status == 201
    for path in ("/metrics", "/metrics/slis", "/readyz/etcd"):
        assert (await http.get(path, token=token)).status == 200
    assert (await http.get("/metrics", token="")).status == 401


async def test_a_watch_is_heard_of_before_it_is_counted_as_ended(http: Http) -> None:
    """A watch counts as answered only when it is over."""
    events = http.watch(f"{CMS}?watch=1")
    waiting = asyncio.create_task(next_of(events))
    await http.post(CMS, config_map("a"))
    await waiting
    samples = await scraped(http)
    assert not [labels for name, labels in samples if name == "apiserver_request_total" and ("verb", "WATCH") in labels]
    await closed(events)
