"""Who may ask at all: tokens, certificates, tokens of service accounts."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaos_ext.cluster.apiserver.auth import ISSUER
from kaos_ext.cluster.apiserver.proxy import _forwarded
from kaos_ext.cluster.pki import Pki
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
    pod = {"metadata": {"name": "p"}, "spec": {"serviceAccountName": "u", "containers": [{"name": "c", "image": "x"}]}}
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


# ---- certificates


def certificate(pki: Pki, folder: Path, name: str, *organizations: str, purpose: Any = None) -> ssl.SSLContext:
    """A client's TLS settings, with a certificate of the cluster's authority."""
    authority = x509.load_pem_x509_certificate(pki.ca.read_bytes())
    authority_key = load_pem_private_key((pki.ca.parent / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    now = dt.datetime.now(dt.UTC)
    usage = x509.ExtendedKeyUsage([purpose or ExtendedKeyUsageOID.CLIENT_AUTH])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(usage, critical=False)
        .sign(authority_key, hashes.SHA256())  # type: ignore[arg-type]
    )
    pem = folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(made.public_bytes(Encoding.PEM) + private)
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.load_cert_chain(pem)
    return context


async def whoami(http: Http, context: ssl.SSLContext) -> Any:
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"{http.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with session.post(url, json={}) as answer:
            return answer.status, await answer.json()


async def test_a_client_certificate_names_a_user_and_groups(running: Running, tmp_path: Path) -> None:
    status, me = await whoami(running.http, certificate(running.pki, tmp_path, "ann", "staff", "dev"))
    assert status == 201
    assert me["status"]["userInfo"] == {"username": "ann", "groups": ["staff", "dev", "system:authenticated"]}


async def test_masters_by_certificate_may_do_all(running: Running, tmp_path: Path) -> None:
    context = certificate(running.pki, tmp_path, "root", "system:masters")
    url = f"{running.http.url}/api/v1/secrets"
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
        assert answer.status == 200


async def test_a_servers_certificate_is_no_clients(running: Running, tmp_path: Path) -> None:
    context = certificate(running.pki, tmp_path, "server", purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(aiohttp.ClientError):
        await whoami(running.http, context)


# ---- tokens


async def test_an_expired_token_is_none(running: Running) -> None:
    http = running.http
    uid = (await http.post(ACCOUNTS, {"metadata": {"name": "u"}})).body["metadata"]["uid"]
    token, _ = running.server.tokens.issue("default", "u", uid, [ISSUER], -1, None)
    assert (await http.get("/version", token=token)).status == 401
    asked = (await http.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})).body
    assert asked["status"] == {"user": {}, "error": "[invalid bearer token, service account token has expired]"}


async def test_a_token_of_an_account_made_anew_does_not_count(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    token = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {}})).body["status"]["token"]
    await http("DELETE", f"{ACCOUNTS}/u")
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    assert (await http.get("/version", token=token)).status == 401


async def test_a_token_signed_by_somebody_else_is_none(running: Running) -> None:
    uid = (await running.http.post(ACCOUNTS, {"metadata": {"name": "u"}})).body["metadata"]["uid"]
    claims = {
        "iss": ISSUER,
        "sub": "system:serviceaccount:default:u",
        "aud": [ISSUER],
        "exp": 1 << 33,
        "iat": 0,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "u", "uid": uid}},
    }
    key = ec.generate_private_key(ec.SECP256R1())
    for forged in (jwt.encode(claims, key, algorithm="ES256"), jwt.encode(claims, "", algorithm="none")):
        assert (await running.http.get("/version", token=forged)).status == 401


async def test_the_key_of_the_issuer_is_published(running: Running) -> None:
    http = running.http
    await http.post(ACCOUNTS, {"metadata": {"name": "u"}})
    token = (await http.post(f"{ACCOUNTS}/u/token", {"spec": {"audiences": ["vault"]}})).body["status"]["token"]
    document = (await http.get("/.well-known/openid-configuration")).body
    assert document["issuer"] == ISSUER
    found = (await http.get(document["jwks_uri"].removeprefix(http.url))).body["keys"][0]
    key = jwt.PyJWK(found)
    assert jwt.decode(token, key, algorithms=["ES256"], audience="vault")["sub"] == "system:serviceaccount:default:u"


async def test_a_pod_finds_its_token_where_every_client_looks(http: Http) -> None:
    await http.post(ACCOUNTS, {"metadata": {"name": "mute"}, "automountServiceAccountToken": False})
    containers = [{"name": "c", "image": "x"}]
    pods = "/api/v1/namespaces/default/pods"
    made = (await http.post(pods, {"metadata": {"name": "a"}, "spec": {"containers": containers}})).body
    mount = made["spec"]["containers"][0]["volumeMounts"][0]
    volume = made["spec"]["volumes"][0]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert mount["name"] == volume["name"]
    assert [next(iter(one)) for one in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    for name, spec in (("b", {"automountServiceAccountToken": False}), ("c", {"serviceAccountName": "mute"})):
        made = (await http.post(pods, {"metadata": {"name": name}, "spec": {"containers": containers, **spec}})).body
        assert "volumes" not in made["spec"]
    absent = await http.post(
        pods, {"metadata": {"name": "d"}, "spec": {"containers": containers, "serviceAccountName": "gone"}}
    )
    assert absent.status == 403
    assert absent.body["message"].endswith('serviceaccount "gone" not found')


def test_the_proxy_keeps_the_names_of_users_to_itself() -> None:
    headers = {"Impersonate-User": "root", "impersonate-extra-x": "y", "Authorization": "Bearer x", "X-Other": "1"}
    sent = _forwarded(make_mocked_request("GET", "/x/proxy/", headers=headers), "/x/proxy/")
    assert [key for key in sent if not key.startswith("X-Forwarded")] == ["X-Other"]
