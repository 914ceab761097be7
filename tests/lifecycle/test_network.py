"""Addresses and ports of a cluster."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kaos_ext.cluster.config import ClusterConfig, cluster_root, load_config
from kaos_ext.cluster.network import choose_octet, choose_port, claim_address, is_claimed, port_is_free
from kaos_ext.model.errors import KaosError, UsageError


def test_the_choice_depends_on_the_state_folder_and_stays_the_same() -> None:
    def nobody(octet: int) -> bool:
        return False

    first = choose_octet(Path("/a"), claimed=nobody)
    assert first == choose_octet(Path("/a"), claimed=nobody)
    assert 64 <= first <= 191


def test_a_range_that_is_held_or_remembered_is_passed_over() -> None:
    wanted = choose_octet(Path("/a"), claimed=lambda octet: False)
    other = choose_octet(Path("/a"), claimed=lambda octet: octet == wanted)
    assert other != wanted
    assert choose_octet(Path("/a"), remembered={wanted}, claimed=lambda octet: False) == other
    # better another cluster's that is stopped than none at all
    assert choose_octet(Path("/a"), remembered=set(range(64, 192)), claimed=lambda octet: octet != wanted) == wanted


def test_without_a_free_range_the_error_says_what_to_do() -> None:
    with pytest.raises(KaosError) as caught:
        choose_octet(Path("/a"), claimed=lambda octet: True)
    assert caught.value.hint


def test_a_bound_socket_claims_a_range_and_its_end_frees_it() -> None:
    octet = choose_octet(Path("/claims"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as claim:
        claim.bind(claim_address(octet))
        assert is_claimed(octet)
    assert not is_claimed(octet)


def test_a_chosen_port_is_free_and_not_anothers() -> None:
    port = choose_port()
    assert port_is_free(port)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert not port_is_free(port)


def test_services_and_pods_share_the_range_without_overlap(tmp_path: Path) -> None:
    config = ClusterConfig(root=tmp_path, name="dev", port=1, octet=70)
    assert not config.service_network.overlaps(config.pod_network)
    assert config.service_network.subnet_of(config.network) and config.pod_network.subnet_of(config.network)
    assert str(config.kubernetes_service_ip) == "127.70.0.1"


def test_a_config_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    config = ClusterConfig(root=tmp_path, name="dev", port=18443, octet=70, idle_seconds=3.5)
    config.save()
    assert load_config(tmp_path) == config


def test_a_damaged_config_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(KaosError, match=r"config\.json is damaged"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "Dev", "a" * 41, "-a"])
def test_a_name_that_cannot_be_a_folder_and_a_context_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        cluster_root(name)
