"""Who may talk to a runtime."""

from __future__ import annotations

import os

import pytest

from kaos_ext.runtime.guard import Caller, Guard

ME = os.getuid()
GUARD = Guard(uids=frozenset({0, ME}))


def caller(**given: object) -> Caller:
    return Caller(**{"path": "/loop", "host": "localhost:8000", "peer": "127.0.0.1", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1.2.3:80",
        "[::1]:8000",
        "10.2.3.4",
        "agent-x",
        "agent-x.ns.svc",
        "x.ns.svc.cluster.local:8000",
        "",
    ],
)
def test_addresses_and_names_of_a_cluster_are_answered(host: str) -> None:
    assert GUARD.refuse(caller(host=host)) is None


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com:8000", "127.0.0.1.nip.io", "svc.cluster.local.evil"])
def test_other_names_are_not(host: str) -> None:
    refusal = GUARD.refuse(caller(host=host))
    assert refusal is not None and refusal.status == 421


@pytest.mark.parametrize(
    ("origin", "served"),
    [
        ("", True),
        ("http://localhost:8000", True),
        ("http://localhost:8888", False),
        ("null", False),
        ("https://x", False),
    ],
)
def test_only_its_own_pages_may_call_it_from_a_browser(origin: str, served: bool) -> None:
    refusal = GUARD.refuse(caller(origin=origin))
    assert (refusal is None) == served and (served or refusal.status == 403)  # type: ignore[union-attr]


@pytest.mark.parametrize(("uid", "served"), [(ME, True), (0, True), (ME + 4242, False), (None, True)])
def test_on_loopback_the_peers_user_decides_where_the_kernel_tells(uid: int | None, served: bool) -> None:
    assert (GUARD.refuse(caller(uid=lambda: uid)) is None) == served


def test_a_token_opens_to_any_user_and_any_address() -> None:
    guard = Guard(token="s3cret", uids=frozenset({ME}))
    assert guard.refuse(caller(authorization="Bearer s3cret", uid=lambda: ME + 1)) is None
    assert guard.refuse(caller(authorization="bearer s3cret", peer="10.0.0.9")) is None
    for wrong in ("", "Bearer other", "Basic s3cret", "s3cret"):
        refusal = guard.refuse(caller(authorization=wrong, peer="10.0.0.9"))
        assert refusal is not None and refusal.status == 401


def test_probes_need_no_token_but_their_host_is_checked() -> None:
    guard = Guard(token="s3cret")
    assert guard.refuse(caller(path="/ready", peer="10.0.0.9")) is None
    assert guard.refuse(caller(path="/ready", peer="10.0.0.9", host="evil.com")) is not None


def test_the_settings_come_from_the_environment() -> None:
    guard = Guard.from_env({"KAOS_ALLOWED_HOSTS": "gate.example.com, Other.example.com", "KAOS_ALLOWED_ORIGINS": "*"})
    assert guard.refuse(caller(host="other.example.com", origin="https://anything")) is None
