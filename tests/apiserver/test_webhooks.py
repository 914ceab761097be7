"""Admission webhooks: asked at the right moment, obeyed, and passed over only where that is allowed."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.pki import Pki

from .conftest import CMS, Http, config_map, serve_widgets

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations"
RULE = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
Object = dict[str, Any]


@dataclass
class Hook:
    """A webhook under `url`; `answers` says what it answers to a request."""

    url: str
    bundle: str
    requests: list[Object] = field(default_factory=list)
    answers: Callable[[Object], Object] = lambda _: {"allowed": True}
    status: int = 200
    delay: float = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.requests.append(review["request"])
        await asyncio.sleep(self.delay)
        response = {"uid": review["request"]["uid"], **self.answers(review["request"])}
        answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return web.json_response(answer, status=self.status)

    def configuration(self, kind: str = "Validating", name: str = "hook", **more: Any) -> Object:
        webhook = {
            "name": f"{name}.example.dev",
            "clientConfig": {"url": self.url, "caBundle": self.bundle},
            "rules": [RULE],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            **more,
        }
        return {"kind": f"{kind}WebhookConfiguration", "metadata": {"name": name}, "webhooks": [webhook]}


@pytest.fixture
async def hook(cluster: tuple[ClusterConfig, Pki]) -> AsyncIterator[Hook]:
    _, pki = cluster
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.api_certificate, pki.api_key)
    made = Hook("", base64.b64encode(pki.ca.read_bytes()).decode())
    app = web.Application()
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.url = f"https://127.0.0.1:{runner.addresses[0][1]}/admit"
    yield made
    await runner.cleanup()


async def install(http: Http, configuration: Object) -> None:
    kind = configuration["kind"].removesuffix("WebhookConfiguration").lower()
    made = await http.post(CONFIGURATIONS.format(kind), configuration)
    assert made.status == 201, made.body


def patch(*operations: Object) -> Object:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


async def test_a_validating_webhook_is_asked_and_its_refusal_told(http: Http, hook: Hook) -> None:
    hook.answers = lambda _: {"allowed": False, "status": {"code": 418, "message": "not today"}}
    await install(http, hook.configuration())
    refused = await http.post(CMS, config_map("a", data={"k": "v"}))
    assert refused.status == 418
    assert refused.body["message"] == 'admission webhook "hook.example.dev" denied the request: not today'
    asked = hook.requests[0]
    assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "a", "default")
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert asked["object"]["data"] == {"k": "v"}
    assert asked["oldObject"] is None
    assert asked["userInfo"]["username"] == "kubernetes-admin"
    assert (await http.get(f"{CMS}/a")).status == 404


async def test_every_way_to_write_is_asked_about(http: Http, hook: Hook) -> None:
    await http.post(CMS, config_map("a", data={"k": "1"}))
    await install(http, hook.configuration())
    await http.merge(f"{CMS}/a", {"data": {"k": "2"}})
    await http("PUT", f"{CMS}/a", config_map("a", data={"k": "3"}))
    apply = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "4"}}
    await http("PATCH", f"{CMS}/b?fieldManager=t", apply, content_type="application/apply-patch+yaml")
    await http("DELETE", f"{CMS}/a")
    asked = [(one["operation"], one["name"]) for one in hook.requests]
    assert asked == [("UPDATE", "a"), ("UPDATE", "a"), ("CREATE", "b"), ("DELETE", "a")]
    assert hook.requests[0]["oldObject"]["data"] == {"k": "1"}
    assert hook.requests[0]["object"]["data"] == {"k": "2"}
    assert hook.requests[3]["object"] is None
    assert hook.requests[3]["oldObject"]["data"] == {"k": "3"}


async def test_a_mutating_webhook_changes_the_object(http: Http, hook: Hook) -> None:
    hook.answers = lambda _: patch({"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}})
    await install(http, hook.configuration("Mutating"))
    made = await http.post(CMS, config_map("a"))
    assert made.body["metadata"]["labels"] == {"by": "hook"}
    await http.merge(f"{CMS}/a", {"metadata": {"labels": {"by": "me"}}})
    assert (await http.get(f"{CMS}/a")).body["metadata"]["labels"] == {"by": "hook"}


async def test_mutating_webhooks_follow_each_other_and_validating_ones_see_the_end(http: Http, hook: Hook) -> None:
    def answers(request: Object) -> Object:
        data = request["object"].get("data") or {}
        if request["object"]["metadata"]["name"] == "seen" or "z" in data:
            return {"allowed": True}
        return patch({"op": "add", "path": "/data", "value": {**data, "yz"[len(data)]: "1"}})

    hook.answers = answers
    for name in ("b", "a"):
        await install(http, hook.configuration("Mutating", name))
    await install(http, hook.configuration("Validating", "c"))
    made = await http.post(CMS, config_map("x"))
    assert made.body["data"] == {"y": "1", "z": "1"}
    assert [one["object"].get("data") for one in hook.requests] == [None, {"y": "1"}, {"y": "1", "z": "1"}]


async def test_a_webhook_that_wants_it_is_asked_again_after_others_changed_the_object(http: Http, hook: Hook) -> None:
    def answers(request: Object) -> Object:
        count = str(len(hook.requests))
        return patch({"op": "add", "path": "/data", "value": {**(request["object"].get("data") or {}), count: "x"}})

    hook.answers = answers
    await install(http, hook.configuration("Mutating", "a", reinvocationPolicy="IfNeeded"))
    await install(http, hook.configuration("Mutating", "b"))
    made = await http.post(CMS, config_map("x"))
    assert [sorted(one["object"].get("data") or {}) for one in hook.requests] == [[], ["1"], ["1", "2"]]
    assert sorted(made.body["data"]) == ["1", "2", "3"]


async def test_a_webhook_is_chosen_by_the_labels_that_one_before_it_gave(http: Http, hook: Hook) -> None:
    hook.answers = lambda request: (
        {"allowed": True}
        if request["object"]["metadata"].get("labels")
        else patch({"op": "add", "path": "/metadata/labels", "value": {"picked": "yes"}})
    )
    await install(http, hook.configuration("Mutating", "a"))
    await install(http, hook.configuration("Mutating", "b", objectSelector={"matchLabels": {"picked": "yes"}}))
    await http.post(CMS, config_map("x"))
    assert len(hook.requests) == 2


async def test_what_a_webhook_makes_of_an_object_must_be_valid(http: Http, hook: Hook) -> None:
    await serve_widgets(http)
    hook.answers = lambda _: patch({"op": "replace", "path": "/spec/size", "value": 99})
    rule = {**RULE, "apiGroups": ["example.dev"], "resources": ["widgets"]}
    await install(http, hook.configuration("Mutating", rules=[rule]))
    widget = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    refused = await http.post("/apis/example.dev/v1/namespaces/default/widgets", widget)
    assert refused.status == 422
    assert "spec.size" in refused.body["message"]


async def test_status_writes_are_asked_about_by_their_own_rule(http: Http, hook: Hook) -> None:
    await serve_widgets(http)
    path = "/apis/example.dev/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
    await http.post(path, widget)
    rule = {**RULE, "apiGroups": ["*"], "resources": ["widgets/status"]}
    await install(http, hook.configuration(rules=[rule]))
    await http.merge(f"{path}/w", {"spec": {"size": 2}})
    await http.merge(f"{path}/w/status", {"status": {"x": 1}})
    assert [one["subResource"] for one in hook.requests] == ["status"]


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({"rules": [{**RULE, "operations": ["UPDATE"]}]}, False),
        ({"rules": [{**RULE, "resources": ["secrets"]}]}, False),
        ({"rules": [{**RULE, "resources": ["*"]}]}, True),
        ({"rules": [{**RULE, "resources": ["*/*"]}]}, True),
        ({"rules": [{**RULE, "resources": ["configmaps/status"]}]}, False),
        ({"rules": [{**RULE, "scope": "Cluster"}]}, False),
        ({"objectSelector": {"matchLabels": {"a": "b"}}}, True),
        ({"objectSelector": {"matchLabels": {"a": "c"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}, False),
        ({"matchConditions": [{"name": "c", "expression": "object.metadata.name == 'x'"}]}, True),
        ({"matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'ann'"}]}, False),
    ],
)
async def test_only_what_concerns_a_webhook_is_sent_to_it(http: Http, hook: Hook, more: Object, asked: bool) -> None:
    await install(http, hook.configuration(**more))
    made = await http.post(CMS, config_map("x", metadata={"labels": {"a": "b"}}))
    assert made.status == 201, made.body
    assert bool(hook.requests) is asked


@pytest.mark.parametrize("trouble", ["closed", "slow", "no review", "500", "bad patch"])
async def test_a_webhook_that_fails_refuses_or_is_passed_over_as_its_policy_says(
    http: Http, hook: Hook, trouble: str
) -> None:
    more: Object = {"timeoutSeconds": 1}
    kind = "Mutating" if trouble == "bad patch" else "Validating"
    if trouble == "closed":
        more["clientConfig"] = {"url": "https://127.0.0.1:1/", "caBundle": hook.bundle}
    hook.delay = 1.5 if trouble == "slow" else 0
    hook.status = 500 if trouble == "500" else 200
    if trouble == "no review":
        hook.answers = lambda _: {"uid": "another", "allowed": True}
    if trouble == "bad patch":
        hook.answers = lambda _: patch({"op": "remove", "path": "/gone"})
    await install(http, hook.configuration(kind, "strict", **more))
    refused = await http.post(CMS, config_map("x"))
    assert refused.status == 500
    assert refused.body["message"].startswith('Internal error occurred: failed calling webhook "strict.example.dev": ')
    await http("DELETE", f"{CONFIGURATIONS.format(kind.lower())}/strict")
    await install(http, hook.configuration(kind, "mild", failurePolicy="Ignore", **more))
    assert (await http.post(CMS, config_map("x"))).status == 201


async def test_a_dry_run_asks_only_webhooks_without_side_effects(http: Http, hook: Hook) -> None:
    await install(http, hook.configuration(sideEffects="NoneOnDryRun"))
    assert (await http.post(f"{CMS}?dryRun=All", config_map("x"))).status == 201
    assert hook.requests[0]["dryRun"] is True
    assert (await http.get(f"{CMS}/x")).status == 404


async def test_warnings_of_a_webhook_reach_the_client(http: Http, hook: Hook) -> None:
    hook.answers = lambda _: {"allowed": True, "warnings": ["think twice"]}
    await install(http, hook.configuration())
    made = await http.post(CMS, config_map("x"))
    assert made.headers["Warning"] == '299 - "think twice"'


async def test_an_object_that_changes_while_webhooks_are_asked_is_made_anew(http: Http, hook: Hook) -> None:
    await http.post(CMS, config_map("x", data={"n": "0"}))
    await install(http, hook.configuration())
    hook.delay = 0.05
    patches = [http.merge(f"{CMS}/x", {"data": {key: "1"}}) for key in "abc"]
    answers = await asyncio.gather(*patches)
    assert [one.status for one in answers] == [200, 200, 200]
    assert set((await http.get(f"{CMS}/x")).body["data"]) == {"n", "a", "b", "c"}


async def test_a_stale_write_is_a_conflict_with_webhooks_too(http: Http, hook: Hook) -> None:
    made = (await http.post(CMS, config_map("x"))).body
    await install(http, hook.configuration())
    await http.merge(f"{CMS}/x", {"data": {"a": "1"}})
    assert (await http("PUT", f"{CMS}/x", made)).status == 409


async def test_webhooks_cannot_lock_themselves_in(http: Http, hook: Hook) -> None:
    hook.answers = lambda _: {"allowed": False}
    every = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    await install(http, hook.configuration(rules=[every]))
    refused = await http.post(CMS, config_map("x"))
    assert refused.body["message"] == 'admission webhook "hook.example.dev" denied the request without explanation'
    assert (await http("DELETE", f"{CONFIGURATIONS.format('validating')}/hook")).status == 200
    assert (await http.post(CMS, config_map("x"))).status == 201


async def test_a_service_is_called_by_its_name(http: Http, hook: Hook) -> None:
    ports = [{"port": 443}]
    service = (await http.post("/api/v1/namespaces/default/services", {
        "metadata": {"name": "hook"}, "spec": {"ports": ports}})).body  # fmt: skip
    client = {"service": {"name": "hook", "namespace": "default", "path": "admit"}, "caBundle": hook.bundle}
    await install(http, hook.configuration(clientConfig=client, timeoutSeconds=2))
    refused = await http.post(CMS, config_map("x"))
    assert service["spec"]["clusterIP"]
    assert 'Post "https://hook.default.svc:443/admit?timeout=2s"' in refused.body["message"]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"name": "short"}, "name"),
        ({"sideEffects": "Some"}, "sideEffects"),
        ({"admissionReviewVersions": ["v9"]}, "admissionReviewVersions"),
        ({"timeoutSeconds": 31}, "timeoutSeconds"),
        ({"clientConfig": {}}, "clientConfig"),
        ({"clientConfig": {"url": "http://x"}}, "clientConfig.url"),
        ({"matchConditions": [{"name": "c", "expression": "1 +"}]}, "matchConditions[0].expression"),
    ],
)
async def test_a_wrong_configuration_is_refused(http: Http, hook: Hook, more: Object, path: str) -> None:
    configuration = hook.configuration()
    configuration["webhooks"][0].update(more)
    refused = await http.post(CONFIGURATIONS.format("validating"), configuration)
    assert refused.status == 422
    assert refused.body["details"]["causes"][0]["field"] == f"webhooks[0].{path}"


async def test_defaults_of_a_configuration_are_written_out(http: Http, hook: Hook) -> None:
    made = (await http.post(CONFIGURATIONS.format("mutating"), hook.configuration("Mutating"))).body
    webhook = made["webhooks"][0]
    assert made["metadata"]["generation"] == 1
    shown = ("failurePolicy", "matchPolicy", "timeoutSeconds", "reinvocationPolicy", "namespaceSelector")
    assert [webhook[key] for key in shown] == ["Fail", "Equivalent", 10, "Never", {}]
    assert webhook["rules"][0]["scope"] == "*"
