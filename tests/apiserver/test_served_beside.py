"""What a real server does beside its verbs: kept tokens, groups that come first, what it says of what is old."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Callable
from typing import Any

from tests.apiserver.conftest import CRDS, WIDGET_PATH, WIDGETS, Http, next_of, serve_widgets

Object = dict[str, Any]
SECRETS = "/api/v1/namespaces/default/secrets"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def found(http: Http, path: str, right: Callable[[Any], Any]) -> Any:
    """The object, as soon as it is right."""
    deadline = asyncio.get_running_loop().time() + 5
    while True:
        answer = await http.get(path)
        if right(answer):
            return answer.body
        assert asyncio.get_running_loop().time() < deadline, answer.body
        await asyncio.sleep(0.005)


def token_secret(name: str, account: str) -> Object:
    annotations = {"kubernetes.io/service-account.name": account}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "type": "kubernetes.io/service-account-token",
    }


async def kept_token(http: Http) -> str:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    assert (await http.post(SECRETS, token_secret("kept", "u"))).status == 201
    secret = await found(http, f"{SECRETS}/kept", lambda one: "token" in (one.body.get("data") or {}))
    assert base64.b64decode(secret["data"]["namespace"]) == b"default"
    assert base64.b64decode(secret["data"]["ca.crt"]).startswith(b"-----BEGIN CERTIFICATE")
    account = (await http.get(f"{ACCOUNTS}/u")).body
    assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"] == account["metadata"]["uid"]
    return base64.b64decode(secret["data"]["token"]).decode()


async def test_a_secret_of_the_type_keeps_a_token_of_its_account(http: Http) -> None:
    token = await kept_token(http)
    assert (await http.get("/version", token=token)).status == 200
    review = {"spec": {"token": token}}
    status = (await http.post("/apis/authentication.k8s.io/v1/tokenreviews", review)).body["status"]
    assert status["authenticated"] is True
    assert status["user"]["username"] == "system:serviceaccount:default:u"


async def test_a_kept_token_goes_with_its_secret(http: Http) -> None:
    token = await kept_token(http)
    await http("DELETE", f"{SECRETS}/kept")
    assert (await http.get("/version", token=token)).status == 401


async def test_a_kept_token_and_its_secret_go_with_the_account(http: Http) -> None:
    token = await kept_token(http)
    await http("DELETE", f"{ACCOUNTS}/u")
    assert (await http.get("/version", token=token)).status == 401
    await found(http, f"{SECRETS}/kept", lambda one: one.status == 404)


async def test_a_token_secret_of_nobody_goes(http: Http) -> None:
    assert (await http.post(SECRETS, token_secret("kept", "nobody"))).status == 201
    await found(http, f"{SECRETS}/kept", lambda one: one.status == 404)


async def test_a_pod_has_the_pull_secrets_of_its_account_unless_it_brings_its_own(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}, "imagePullSecrets": [{"name": "registry"}]})
    spec: Object = {"serviceAccountName": "u", "containers": [{"name": "c", "image": "x"}]}
    pods = "/api/v1/namespaces/default/pods"
    plain = await http.post(pods, {"metadata": {"name": "plain"}, "spec": spec})
    assert plain.body["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    own = await http.post(pods, {"metadata": {"name": "own"}, "spec": {**spec, "imagePullSecrets": [{"name": "mine"}]}})
    assert own.body["spec"]["imagePullSecrets"] == [{"name": "mine"}]


def agents(group: str) -> Object:
    crd = copy.deepcopy(WIDGETS)
    crd["metadata"] = {"name": f"agents.{group}"}
    crd["spec"] |= {"group": group, "names": {"plural": "agents", "kind": "Agent"}}
    return crd


async def groups(http: Http) -> list[str]:
    legacy = [one["name"] for one in (await http.get("/apis")).body["groups"]]
    items = (await http.get("/apis", accept=AGGREGATED)).body["items"]
    assert [one["metadata"]["name"] for one in items] == legacy
    return [one for one in legacy if one in ("kaos.tools", "core.orka.ai")]


async def test_groups_of_definitions_come_by_name_unless_an_apiservice_ranks_them(http: Http) -> None:
    for group in ("kaos.tools", "core.orka.ai"):
        assert (await http.post(CRDS, agents(group))).status == 201
        await found(http, f"/apis/{group}", lambda one: one.status == 200)
    assert await groups(http) == ["core.orka.ai", "kaos.tools"]
    spec = {"group": "kaos.tools", "version": "v1", "groupPriorityMinimum": 1100, "versionPriority": 100}
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    assert (await http.post(services, {"metadata": {"name": "v1.kaos.tools"}, "spec": spec})).status == 201
    await found(http, f"{services}/v1.kaos.tools", lambda one: one.status == 200)
    assert await groups(http) == ["kaos.tools", "core.orka.ai"]


async def test_what_is_deprecated_is_said_to_readers_too(http: Http) -> None:
    assert "deprecated" in (await http.get("/api/v1/endpoints")).headers["Warning"]
    assert "deprecated" in (await http.get("/api/v1/namespaces/default/endpoints/none")).headers["Warning"]
    assert "Warning" not in (await http.get("/api/v1/services")).headers


async def test_a_value_that_was_wrong_before_does_not_hold_up_another_change(http: Http) -> None:
    await serve_widgets(http)
    widget = {"apiVersion": "example.dev/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 9}}
    assert (await http.post(WIDGET_PATH, widget)).status == 201
    crd = copy.deepcopy(WIDGETS)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["size"]["maximum"] = 5
    assert (await http.merge(f"{CRDS}/widgets.example.dev", {"spec": crd["spec"]})).status == 200
    assert (await http.merge(f"{WIDGET_PATH}/w", {"spec": {"mode": "fast"}})).status == 200
    refused = await http.merge(f"{WIDGET_PATH}/w", {"spec": {"size": 8}})
    assert refused.status == 422
    assert "should be less than or equal to 5" in refused.body["message"]


async def test_a_watch_gets_a_bookmark_before_it_ends(http: Http) -> None:
    events = http.watch("/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=true&timeoutSeconds=3")
    assert (await next_of(events))["type"] == "BOOKMARK"
    await events.aclose()
