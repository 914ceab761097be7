"""A user's certificate on request: asked for, approved by who may, signed, and taken by the server."""

from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .conftest import Http, Running

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
KEY = ec.generate_private_key(ec.SECP256R1())


def request(name: str, user: str, *groups: str, **spec: Any) -> dict[str, Any]:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in groups]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(KEY, hashes.SHA256())
    usual = {
        "request": base64.b64encode(made.public_bytes(Encoding.PEM)).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    return {"metadata": {"name": name}, "spec": {**usual, **spec}}


async def decide(http: Http, name: str, type: str = "Approved", **headers: str) -> Any:
    body = (await http.get(f"{REQUESTS}/{name}")).body
    body["status"]["conditions"] = [{"type": type, "status": "True", "reason": "Test", "message": "by a test"}]
    return await http("PUT", f"{REQUESTS}/{name}/approval", body, headers=headers)


async def settled(http: Http, name: str) -> dict[str, Any]:
    """The status once it is signed or failed."""
    async with asyncio.timeout(5):
        async for event in http.watch(f"{REQUESTS}?watch=1&fieldSelector=metadata.name={name}"):
            status = event["object"].get("status") or {}
            if "certificate" in status or any(one["type"] == "Failed" for one in status.get("conditions") or ()):
                return dict(status)
    raise AssertionError


async def test_an_approved_request_becomes_a_certificate_that_is_its_user(running: Running, tmp_path: Path) -> None:
    http = running.http
    made = await http.post(REQUESTS, request("ann", "ann", "staff", expirationSeconds=3600))
    assert made.status == 201, made.body
    assert made.body["spec"]["username"] == "kubernetes-admin"
    assert (await decide(http, "ann")).status == 200
    signed = base64.b64decode((await settled(http, "ann"))["certificate"])
    pem = tmp_path / "ann.pem"
    pem.write_bytes(signed + KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(cafile=str(running.pki.ca))
    context.load_cert_chain(pem)
    url = f"{http.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector) as session, session.post(url, json={}) as answer:
        me = (await answer.json())["status"]["userInfo"]
    assert me == {"username": "ann", "groups": ["staff", "system:authenticated"]}
    life = x509.load_pem_x509_certificate(signed)
    assert (life.not_valid_after_utc - life.not_valid_before_utc).total_seconds() < 4000


async def test_only_who_may_approve_for_a_signer_does(http: Http) -> None:
    rules = [{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval"],
              "verbs": ["update"]}]  # fmt: skip
    await http.post(f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": rules})
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "bob"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    bound = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": [subject]}
    await http.post(f"{RBAC}/clusterrolebindings", bound)
    await http.post(REQUESTS, request("ann", "ann"))
    refused = await decide(http, "ann", **{"Impersonate-User": "bob"})
    assert refused.status == 403
    assert "user not permitted to approve requests with signerName" in refused.body["message"]
    more = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"],
            "resourceNames": ["kubernetes.io/*"]}  # fmt: skip
    await http.merge(f"{RBAC}/clusterroles/r", {"rules": [*rules, more]})
    assert (await decide(http, "ann", **{"Impersonate-User": "bob"})).status == 200


async def test_nobody_asks_for_the_masters_group(http: Http) -> None:
    refused = await http.post(REQUESTS, request("root", "root", "system:masters"))
    assert refused.status == 403
    assert "system:masters group is not allowed" in refused.body["message"]


async def test_who_asked_cannot_be_chosen_or_changed(http: Http) -> None:
    body = request("ann", "ann", username="somebody", groups=["x"])
    made = (await http.post(REQUESTS, body)).body
    assert made["spec"]["username"] == "kubernetes-admin"
    changed = (await http.merge(f"{REQUESTS}/ann", {"spec": {"username": "other"}})).body
    assert changed["spec"]["username"] == "kubernetes-admin"


@pytest.mark.parametrize("spec", [{"usages": ["server auth"]}, {"request": base64.b64encode(b"no request").decode()}])
async def test_what_the_signer_does_not_sign_fails_and_says_why(http: Http, spec: dict[str, Any]) -> None:
    made = await http.post(REQUESTS, request("bad", "bad", **spec))
    if made.status == 422:
        return
    await decide(http, "bad")
    conditions = (await settled(http, "bad"))["conditions"]
    assert conditions[-1]["type"] == "Failed"
    assert conditions[-1]["message"]


async def test_a_denied_request_is_not_signed(http: Http) -> None:
    await http.post(REQUESTS, request("ann", "ann"))
    await decide(http, "ann", "Denied")
    await http.post(REQUESTS, request("bob", "bob"))
    await decide(http, "bob")
    await settled(http, "bob")
    assert "certificate" not in (await http.get(f"{REQUESTS}/ann")).body["status"]
