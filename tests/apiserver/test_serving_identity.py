"""Who may ask at all: tokens, certificates, tokens of service accounts."""

from __future__ import annotations

import pytest

from tests.apiserver.conftest import Http, Running

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.mark.parametrize("path", ["/version", "/readyz", "/healthz", "/api", "/api/v1/pods", "/openapi/v3", "/nope"])
async def test_nothing_is_answered_without_a_token(http: Http, path: str) -> None:
    for token in ("", "wrong"):
        refused = await http.get(path, token=token)
        assert refused.status == 401
        assert refused.body["reason"] == "Unauthorized"


async def test_the_server_is_ready_and_says_its_version(http: Http) -> None:
    assert (await http.get("/readyz")).body == "ok"
    assert (await http.get("/version/")).body["gitVersion"].startswith("v1.36")


async def test_a_service_accounts_token_is_a_bearer_until_the_account_goes(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    issued = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {"expirationSeconds": 600}})).body
    token = issued["status"]["token"]
    me = (await http.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)).body
    assert me["status"]["userInfo"]["username"] == "system:serviceaccount:default:u"
    assert "system:serviceaccounts" in me["status"]["userInfo"]["groups"]
    await http("DELETE", f"{ACCOUNTS}/u")
    assert (await http.get("/api/v1/pods", token=token)).status == 401


async def test_a_token_for_another_audience_opens_nothing_here(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    issued = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {"audiences": ["vault"]}})).body
    token = issued["status"]["token"]
    assert (await http.get("/api/v1/pods", token=token)).status == 401
    review = {"spec": {"token": token, "audiences": ["vault"]}}
    asked = (await http.post("/apis/authentication.k8s.io/v1/tokenreviews", review)).body
    assert asked["status"]["authenticated"] is True
    assert asked["status"]["audiences"] == ["vault"]


async def test_a_token_bound_to_a_pod_dies_with_it(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    made = await http.post("/api/v1/namespaces/default/pods", pod)
    assert made.status == 201, made.body
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made.body["metadata"]["uid"]}
    issued = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {"boundObjectRef": bound}})).body
    token = issued["status"]["token"]
    assert (await http.get("/version", token=token)).status == 200
    await http("DELETE", "/api/v1/namespaces/default/pods/p")
    assert (await http.get("/version", token=token)).status == 401


async def test_a_pod_that_watches_is_nobody_who_uses_the_cluster(running: Running) -> None:
    http = running.http
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    token = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {}})).body["status"]["token"]
    bound = {
        "metadata": {"name": "u"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "u"}],
    }
    await http.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", bound)
    ended = running.server.http.last_request
    url = f"{http.url}/api/v1/pods?watch=1"
    headers = {"Authorization": f"Bearer {token}"}
    async with http.session.get(url, headers=headers, ssl=http.context) as watching:
        assert watching.status == 200
        assert (running.server.http.open_requests, running.server.http.last_request) == (0, ended)
    headers = {"Authorization": f"Bearer {http.token}"}
    async with http.session.get(url, headers=headers, ssl=http.context) as watching:
        assert watching.status == 200
        assert running.server.http.open_requests == 1
