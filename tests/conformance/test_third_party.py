"""Other people's tests and programs against the embedded cluster: a share in `make test`, all in `make proof`."""

from __future__ import annotations

import pytest

from tests.conformance import suite_helm, suite_kopf, suite_kr8s, suite_kubectl, suite_kubernetes
from tests.conformance.outcome import Outcome, table


def explained(outcome: Outcome) -> None:
    print(table([outcome]))
    assert outcome.passed
    assert not outcome.unexplained, "\n".join(f"{test}: {why}" for test, why in outcome.unexplained.items())


@pytest.mark.process
@pytest.mark.timeout(180)
def test_every_kubectl_command_of_the_recording_does_what_it_does_on_a_real_cluster() -> None:
    outcome = suite_kubectl.run()
    explained(outcome)
    assert outcome.total == 89


@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_share_of_kopfs_own_tests_passes() -> None:
    explained(suite_kopf.run(["05-handlers", "08-events"]))


@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_share_of_kr8s_own_tests_passes() -> None:
    outcome = suite_kr8s.run(["test_io", "watch", "patch", "secret", "crd", "label", "version", "selector"])
    explained(outcome)
    assert outcome.total > 20


@pytest.mark.process
@pytest.mark.timeout(240)
def test_helm_installs_upgrades_lists_rolls_back_and_uninstalls() -> None:
    explained(suite_helm.run())


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_all_of_kopfs_own_tests_pass() -> None:
    outcome = suite_kopf.run()
    explained(outcome)
    assert len(outcome.passed) == suite_kopf.TESTS


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_all_of_kr8s_own_tests_pass_or_are_explained() -> None:
    outcome = suite_kr8s.run()
    explained(outcome)
    assert outcome.total == 174


@pytest.mark.proof
@pytest.mark.timeout(9000)
def test_kubernetes_own_tests_of_api_machinery_pass_or_are_explained() -> None:
    outcome = suite_kubernetes.run()
    explained(outcome)
    assert len(outcome.passed) >= 60
