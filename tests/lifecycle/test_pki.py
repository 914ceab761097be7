"""Certificates, keys and tokens of a cluster."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.pki import ensure_pki


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterConfig:
    return ClusterConfig(root=tmp_path, name="dev", port=18443, octet=70)


def contents(cluster: ClusterConfig) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cluster.pki.iterdir()}


def test_everything_is_private_and_a_second_call_changes_nothing(cluster: ClusterConfig) -> None:
    first = ensure_pki(cluster)
    before = contents(cluster)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in cluster.pki.iterdir())
    assert stat.S_IMODE(cluster.pki.stat().st_mode) == 0o700
    assert ensure_pki(cluster) == first
    assert contents(cluster) == before
    assert len(first.admin_token) >= 32 and first.admin_token != first.kubelet_token


def test_a_missing_certificate_is_made_again_by_the_same_authority(cluster: ClusterConfig) -> None:
    ensure_pki(cluster)
    before = contents(cluster)
    (cluster.pki / "apiserver.crt").unlink()
    ensure_pki(cluster)
    after = contents(cluster)
    assert after["ca.crt"] == before["ca.crt"] and after["kubelet.crt"] == before["kubelet.crt"]
    assert after["apiserver.crt"] != before["apiserver.crt"]


def test_a_certificate_is_renewed_before_it_ends(cluster: ClusterConfig) -> None:
    now = dt.datetime.now(dt.UTC)
    ensure_pki(cluster, now)
    before = contents(cluster)
    ensure_pki(cluster, now + dt.timedelta(days=200))
    assert contents(cluster) == before
    ensure_pki(cluster, now + dt.timedelta(days=320))
    after = contents(cluster)
    assert after["apiserver.crt"] != before["apiserver.crt"]
    assert after["ca.crt"] == before["ca.crt"] and after["admin.token"] == before["admin.token"]


def test_another_network_gets_a_certificate_with_its_address(cluster: ClusterConfig) -> None:
    ensure_pki(cluster)
    moved = ClusterConfig(root=cluster.root, name="dev", port=18443, octet=71)
    pki = ensure_pki(moved)
    certificate = x509.load_pem_x509_certificate(pki.api_certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "127.71.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_tls_client_that_trusts_the_authority_accepts_the_server(cluster: ClusterConfig, name: str) -> None:
    pki = ensure_pki(cluster)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pki.api_certificate, pki.api_key)
    client_context = ssl.create_default_context(cafile=str(pki.ca))
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours, server_context.wrap_socket(ours, server_side=True) as tls:
            tls.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    with theirs, client_context.wrap_socket(theirs, server_hostname=name) as tls:
        assert tls.recv(5) == b"hello"
    thread.join()
