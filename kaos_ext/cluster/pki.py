"""A cluster's own certificates, keys and tokens: made once in its `pki/` folder, 0600, renewed before they end.

One EC certificate authority signs the API server's and the kubelet's certificate. Service account tokens are signed
with a key of its own (ES256). Two random bearer tokens exist: `admin.token` (the user of the kubeconfig) and
`kubelet.token` (with which the API server calls its node). `ensure_pki` is idempotent: files that are there and still
good stay; a new address of the API server or a certificate close to its end gets a new certificate from the same CA.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaos_ext.cluster.config import ClusterConfig, private_folder, write_private

CA_LIFE = dt.timedelta(days=3650)
CERTIFICATE_LIFE = dt.timedelta(days=365)
RENEW_BEFORE = dt.timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Pki:
    """Paths of the files and the two tokens."""

    ca: Path
    api_certificate: Path
    api_key: Path
    kubelet_certificate: Path
    kubelet_key: Path
    service_account_key: Path
    admin_token: str
    kubelet_token: str

    @property
    def ca_pem(self) -> str:
        return self.ca.read_text()


def ensure_pki(config: ClusterConfig, now: dt.datetime | None = None) -> Pki:
    """Make what is missing or about to end; keep the rest."""
    now = now or dt.datetime.now(dt.UTC)
    folder = private_folder(config.pki)
    authority = _Authority.load_or_create(folder, config.name, now)
    service_ip = str(config.kubernetes_service_ip)
    api_names = [
        "localhost",
        "127.0.0.1",
        "::1",
        service_ip,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    authority.ensure(folder, "apiserver", "kube-apiserver", api_names, now)
    authority.ensure(
        folder, "kubelet", f"system:node:{config.node_name}", [config.node_name, "localhost", "127.0.0.1"], now
    )
    if not (folder / "sa.key").exists():
        write_private(folder / "sa.key", _pem(ec.generate_private_key(ec.SECP256R1())))
    return Pki(
        ca=folder / "ca.crt",
        api_certificate=folder / "apiserver.crt",
        api_key=folder / "apiserver.key",
        kubelet_certificate=folder / "kubelet.crt",
        kubelet_key=folder / "kubelet.key",
        service_account_key=folder / "sa.key",
        admin_token=_token(folder / "admin.token"),
        kubelet_token=_token(folder / "kubelet.token"),
    )


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def load_or_create(cls, folder: Path, name: str, now: dt.datetime) -> _Authority:
        if (folder / "ca.crt").exists() and (folder / "ca.key").exists():
            certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey) and certificate.not_valid_after_utc > now + RENEW_BEFORE:
                return cls(certificate, key)
        key = ec.generate_private_key(ec.SECP256R1())
        # A serial in the name: two clusters of one name, made one after the other, must not look like one authority.
        subject = _name(f"kaos-{name}-ca-{secrets.token_hex(4)}")
        certificate = (
            _builder(subject, subject, key.public_key(), now, CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        for stale in ("apiserver.crt", "kubelet.crt"):
            (folder / stale).unlink(missing_ok=True)
        write_private(folder / "ca.key", _pem(key))
        write_private(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key)

    def ensure(self, folder: Path, stem: str, common_name: str, names: Sequence[str], now: dt.datetime) -> None:
        path = folder / f"{stem}.crt"
        if path.exists() and (folder / f"{stem}.key").exists() and self._good(path, names, now):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(_name(common_name), self.certificate.subject, key.public_key(), now, CERTIFICATE_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        path.unlink(missing_ok=True)  # a crash between the two writes must not leave a pair that does not match
        write_private(folder / f"{stem}.key", _pem(key))
        write_private(path, certificate.public_bytes(serialization.Encoding.PEM))

    def _good(self, path: Path, names: Sequence[str], now: dt.datetime) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            certificate.not_valid_after_utc > now + RENEW_BEFORE
            and certificate.issuer == self.certificate.subject
            and set(alternative) == {_general_name(name) for name in names}
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks of containers and hosts differ a little
        .not_valid_after(now + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _token(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32).encode())
    return path.read_text().strip()
