"""What holds for a CertificateSigningRequest before it is stored: it says who asked, and who may decide on it."""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.x509.oid import NameOID

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.identity import MASTERS, UserInfo
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.kube.objects import Object

GROUP = "certificates.k8s.io"
STORAGE = f"{GROUP}/certificatesigningrequests"
CLIENT = "kubernetes.io/kube-apiserver-client"
_DECIDED = ("Approved", "Denied")


class BadRequest(Exception):
    """A request that is none, or asks for what its signer does not sign."""


def guard(rbac: Rbac, served: Served, user: UserInfo, new: Object, old: Object | None) -> None:
    """Write down who asks; refuse decisions and signatures of those who may not make them."""
    if served.storage != STORAGE:
        return
    if old is None:
        _sign_as(user, new.setdefault("spec", {}))
        _check_subject(served, new)
        return
    new["spec"] = old.get("spec") or {}
    signer = str(new["spec"].get("signerName") or "")
    before, after = old.get("status") or {}, new.get("status") or {}
    if _decisions(after) != _decisions(before):
        _check_right(rbac, served, user, "approve", signer, new)
    if after.get("certificate") != before.get("certificate"):
        _check_right(rbac, served, user, "sign", signer, new)


def parsed(csr: Object) -> x509.CertificateSigningRequest:
    """The request itself."""
    try:
        pem = base64.b64decode((csr.get("spec") or {}).get("request") or "", validate=True)
        request = x509.load_pem_x509_csr(pem)
    except (ValueError, binascii.Error) as error:
        raise BadRequest(f"unable to parse the request: {error}") from None
    if not request.is_signature_valid:
        raise BadRequest("the request's signature does not fit its key")
    return request


def organizations(request: x509.CertificateSigningRequest) -> list[str]:
    return [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _sign_as(user: UserInfo, spec: Object) -> None:
    for key in ("username", "uid", "groups", "extra"):
        spec.pop(key, None)
    spec |= user.as_object()


def _check_subject(served: Served, csr: Object) -> None:
    if csr["spec"].get("signerName") != CLIENT:
        return
    try:
        asked = organizations(parsed(csr))
    except BadRequest:
        return  # validation or the signer says so
    if MASTERS in asked:
        why = f"use of {CLIENT} signer with {MASTERS} group is not allowed"
        raise failures.forbidden(served, csr["metadata"].get("name") or "", why)


def _decisions(status: Object) -> set[str]:
    return {one["type"] for one in status.get("conditions") or () if one.get("type") in _DECIDED}


def _check_right(rbac: Rbac, served: Served, user: UserInfo, verb: str, signer: str, csr: Object) -> None:
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if rbac.decide(user, Attributes(verb, GROUP, "signers", name=name, version="v1")).allowed:
            return
    why = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise failures.forbidden(served, csr["metadata"].get("name") or "", why)
