"""Signs approved requests with the cluster's authority: client certificates, which the API server takes for users.

Only `kubernetes.io/kube-apiserver-client` is signed here; requests to other signers wait for those.
"""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from kaos_ext.cluster.apiserver.certificates.requests import CLIENT, GROUP, STORAGE, BadRequest, parsed
from kaos_ext.cluster.apiserver.follower import Follower
from kaos_ext.cluster.apiserver.metadata import copied, timestamp
from kaos_ext.cluster.apiserver.operations import Operations
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.registry import Registry
from kaos_ext.cluster.apiserver.storage import Change, Collection, Storage
from kaos_ext.kube.objects import Object

LIFE = dt.timedelta(days=365)
_USAGES = frozenset({"digital signature", "key encipherment", "client auth"})
_OPTIONS = WriteOptions(manager="kube-controller-manager")


class Signing(Follower):
    """Follows CertificateSigningRequests."""

    name = "certificate signing"

    def __init__(self, storage: Storage, registry: Registry, operations: Operations, ca: Path, key: Path) -> None:
        super().__init__()
        self._registry = registry
        self._operations = operations
        self._ca, self._key = ca, key
        self._collection = storage.collection(STORAGE)
        self.follow(self._collection)
        self.add(*(stored.name for stored in self._collection.scan()))

    def due(self, collection: Collection, change: Change) -> list[str]:
        return [] if change.kind == "DELETED" else [change.stored.name]

    async def settle(self, key: str) -> None:
        stored = self._collection.get("", key)
        if stored is None or not _waits(stored.object):
            return
        csr: Object = copied(stored.object)
        status = csr.setdefault("status", {})
        try:
            status["certificate"] = base64.b64encode(self._signed(csr)).decode()
        except BadRequest as error:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
                "lastTransitionTime": timestamp(),
                "lastUpdateTime": timestamp(),
            }
            status["conditions"] = [*(status.get("conditions") or ()), failed]
        served = self._registry.find(GROUP, "v1", "certificatesigningrequests")
        assert served is not None
        await self._operations.update(served, "", key, lambda _: csr, _OPTIONS, subresource="status")

    def _signed(self, csr: Object) -> bytes:
        spec = csr["spec"]
        usages = set(spec.get("usages") or ())
        if "client auth" not in usages or not usages <= _USAGES:
            raise BadRequest("usages did not match expected usages for this signer")
        request = parsed(csr)
        authority = x509.load_pem_x509_certificate(self._ca.read_bytes())
        key = load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        now = dt.datetime.now(dt.UTC)
        asked = spec.get("expirationSeconds")
        life = min(LIFE, dt.timedelta(seconds=max(600, asked))) if asked else LIFE
        made = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(authority.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(min(now + life, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return made.public_bytes(Encoding.PEM)


def _waits(csr: Object) -> bool:
    """Approved, and neither signed nor failed."""
    status = csr.get("status") or {}
    found = {one.get("type") for one in status.get("conditions") or ()}
    return (
        (csr.get("spec") or {}).get("signerName") == CLIENT
        and "Approved" in found
        and not found & {"Denied", "Failed"}
        and not status.get("certificate")
    )
