"""The fold of containers' states into a PodStatus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaos_ext.cluster.node.pod_status import (
    ContainerState,
    PodFacts,
    Role,
    Running,
    State,
    Terminated,
    Waiting,
    fold,
    qos_class,
)
from kaos_ext.kube.objects import Object

FACTS = PodFacts("127.0.0.1", "127.9.128.1", "2026-01-01T00:00:00Z")
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:09Z"
RUNNING = Running(NOW)
GOOD, BAD = Terminated(0, "Completed", NOW, NOW), Terminated(3, "Error", NOW, NOW)
CREATING, CRASHING = Waiting("ContainerCreating"), Waiting("CrashLoopBackOff")


def pod(policy: str = "Always", **status: Any) -> Object:
    return {"metadata": {"name": "p", "generation": 1}, "spec": {"restartPolicy": policy}, "status": status}


def app(state: State, *, ready: bool = False, last: Terminated | None = None, name: str = "a") -> ContainerState:
    return ContainerState(name, Role.APP, "img", state=state, ready=ready, last=last)


def init(state: State) -> ContainerState:
    return ContainerState("i", Role.INIT, "img", state=state)


@pytest.mark.parametrize(
    ("policy", "containers", "phase"),
    [
        ("Always", [app(CREATING)], "Pending"),
        ("Always", [app(RUNNING)], "Running"),
        ("Always", [app(RUNNING), app(CREATING)], "Pending"),
        ("Always", [app(CRASHING, last=BAD)], "Running"),
        ("Always", [app(GOOD)], "Running"),
        ("Never", [app(GOOD), app(RUNNING)], "Running"),
        ("Never", [app(GOOD)], "Succeeded"),
        ("Never", [app(GOOD), app(BAD)], "Failed"),
        ("OnFailure", [app(BAD)], "Running"),
        ("OnFailure", [app(GOOD)], "Succeeded"),
        ("Always", [init(RUNNING), app(CREATING)], "Pending"),
        ("Always", [init(GOOD), app(RUNNING)], "Running"),
        ("Never", [init(BAD), app(CREATING)], "Failed"),
        ("Always", [init(BAD), app(CREATING)], "Pending"),
    ],
)
def test_phases(policy: str, containers: list[ContainerState], phase: str) -> None:
    assert fold(pod(policy), containers, FACTS, NOW)["phase"] == phase


def test_a_phase_that_is_final_stays() -> None:
    assert fold(pod(phase="Failed"), [app(RUNNING)], FACTS, NOW)["phase"] == "Failed"


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each.get("reason", "")) for each in status["conditions"]}


def test_conditions_of_a_pod_that_comes_up() -> None:
    found = conditions(fold(pod(), [init(RUNNING), app(CREATING)], FACTS, NOW))
    assert found["Initialized"] == ("False", "ContainersNotInitialized")
    assert found["Ready"] == ("False", "ContainersNotReady")
    found = conditions(fold(pod(), [init(GOOD), app(RUNNING, ready=True)], FACTS, NOW))
    assert found["Initialized"] == found["Ready"] == found["ContainersReady"] == ("True", "")
    found = conditions(fold(pod("Never"), [app(GOOD)], FACTS, NOW))
    assert found["Ready"] == ("False", "PodCompleted")


def test_a_condition_keeps_its_transition_time_while_it_does_not_change() -> None:
    first = fold(pod(), [app(RUNNING)], FACTS, NOW)
    second = fold({**pod(), "status": first}, [app(RUNNING, ready=True)], FACTS, LATER)
    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}
    assert times["Ready"] == LATER
    assert times["Initialized"] == NOW


def test_conditions_of_others_are_kept_and_gates_are_obeyed() -> None:
    gate = {"type": "example.test/gate", "status": "False", "lastTransitionTime": NOW}
    gated = pod(conditions=[gate])
    gated["spec"]["readinessGates"] = [{"conditionType": "example.test/gate"}]
    status = fold(gated, [app(RUNNING, ready=True)], FACTS, NOW)
    assert gate in status["conditions"]
    assert conditions(status)["Ready"] == ("False", "ReadinessGatesNotReady")
    gated["status"]["conditions"][0]["status"] = "True"
    assert conditions(fold(gated, [app(RUNNING, ready=True)], FACTS, NOW))["Ready"][0] == "True"


def test_folding_the_same_again_changes_nothing() -> None:
    containers = [app(CRASHING, last=BAD), replace(init(GOOD), restarts=2)]
    first = fold(pod(), containers, FACTS, NOW)
    assert fold({**pod(), "status": first}, containers, FACTS, LATER) == first


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: Object, qos: str) -> None:
    assert qos_class({"spec": {"containers": [{"name": "a", "resources": resources}]}}) == qos
