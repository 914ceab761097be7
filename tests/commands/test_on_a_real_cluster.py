"""The verbs against the embedded cluster, through the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kaos_ext.cluster.config import ClusterConfig

pytestmark = pytest.mark.process

KAOS = Path(sys.executable).parent / "kaos"
SOURCE = 'def echo(message: str) -> str:\n """Echo it."""\n return f"Echo: {message}"'
CALL = '{"tool_calls":[{"id":"call_1","name":"echo","arguments":{"message":"x"}}]}'
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("commands")
    return {
        "PATH": f"{KAOS.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KAOS_HOME": str(folder / "kaos"),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "LANG": "C.UTF-8",
    }


@pytest.fixture(scope="module")
def kaos(environment: dict[str, str]) -> Iterator[Run]:
    """A cluster with an agent that loops, for the whole module; afterwards nothing of it is left."""

    def run(*words: str, check: bool = True, input: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(KAOS), *words], env=environment, capture_output=True, text=True, timeout=90, input=input
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    run("up")
    try:
        run("modelapi", "deploy", "api", "--wait")
        run("mcp", "deploy", "tools", "--params", SOURCE, "--wait")
        mocks = ("--mock-response", CALL, "--mock-response", "All is well.")
        goal = ("--autonomous", "look after it", "--auto-interval", "1")
        run("agent", "deploy", "worker", "-a", "api", "-m", "gpt-4o", "--mcp", "tools", *mocks, *goal, "--wait")
        yield run
    finally:
        run("down", "--delete", check=False)
        folder = environment["HOME"]
        running = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        left = [words for words in running if any(folder in word for word in words)]
        assert left == []


def test_up_again_connects_and_keeps_the_namespace_that_was_chosen(kaos: Run, environment: dict[str, str]) -> None:
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", "--namespace=kube-public"],
        env=environment, check=True, capture_output=True,
    )  # fmt: skip
    try:
        done = json.loads(kaos("up", "--json").stdout)
        assert done["started"] is False and done["context"] == "kaos-default"
        assert json.loads(kaos("status", "--json").stdout)["current"]["namespace"] == "kube-public"
    finally:
        subprocess.run(
            ["kubectl", "config", "set-context", "--current", "--namespace=default"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip


def test_a_daemon_of_another_version_is_told_with_what_to_do(kaos: Run, environment: dict[str, str]) -> None:
    pid_file = Path(environment["KAOS_HOME"]) / "clusters" / "default" / "daemon.pid"
    said = pid_file.read_text()
    assert "kaos down" not in kaos("up").stdout
    pid_file.write_text(" ".join([*said.split()[:2], "0.0.9"]))
    try:
        for verb in ("up", "status"):
            assert "runs kaos 0.0.9" in kaos(verb).stdout and "`kaos down`" in kaos(verb).stdout
    finally:
        pid_file.write_text(said)


def test_an_ephemeral_cluster_is_one_of_its_own_and_leaves_nothing(kaos: Run, environment: dict[str, str]) -> None:
    made = json.loads(kaos("up", "--ephemeral", "--json").stdout)
    try:
        assert made["started"] and made["name"] == f"ephemeral-{os.getpid()}"
        assert json.loads(kaos("status", "--json").stdout)["current"]["context"] == "kaos-default"
        assert kaos("--kubeconfig", made["kubeconfig"], "agent", "list").stdout.startswith("Agents: none")
    finally:
        stopped = kaos("--kubeconfig", made["kubeconfig"], "down")
    assert made["name"] in stopped.stdout and not Path(made["kubeconfig"]).parent.exists()
    assert [c["name"] for c in json.loads(kaos("status", "--json").stdout)["clusters"]] == ["default"]


def test_a_cluster_that_does_not_run_is_not_said_to_have_been_stopped(kaos: Run, environment: dict[str, str]) -> None:
    state = Path(environment["KAOS_HOME"]) / "clusters" / "asleep"
    state.mkdir()
    ClusterConfig(root=state, name="asleep", port=1, octet=70).save()
    stopped = kaos("down", "asleep")
    assert stopped.stdout.startswith("✅ There was nothing to stop of cluster 'asleep'; its state is kept\n")
    assert "was not running" in stopped.stderr and stopped.stdout.endswith("→ kaos up asleep\n")
    kaos("down", "asleep", "--delete")
    assert not state.exists() and json.loads(kaos("status", "--json").stdout)["current"]["context"] == "kaos-default"


def test_status_counts_in_numbers(kaos: Run) -> None:
    found = json.loads(kaos("status", "--json").stdout)
    assert found["current"]["objects"]["agents"] == {"total": 1, "ready": 1}
    assert found["clusters"][0]["version"] == json.loads(kaos("version", "--json").stdout)["version"]


def test_every_verb_that_reads_gives_pure_json(kaos: Run) -> None:
    kaos("agent", "wait", "worker", "--iterations", "1")
    verbs = [
        ("status",), ("doctor",), ("version",), ("agent", "list"), ("agent", "get", "worker"), ("mcp", "list", "-A"),
        ("agent", "status", "worker"), ("agent", "memory", "worker"), ("agent", "tools", "worker"),
        ("agent", "logs", "worker"), ("agent", "a2a", "list", "worker"), ("samples", "list"), ("system", "status"),
        ("system", "runtimes"), ("mcp", "invoke", "tools"), ("agent", "invoke", "worker", "-m", "hi"),
    ]  # fmt: skip
    for words in verbs:
        done = kaos(*words, "--json")
        assert json.loads(done.stdout) is not None, words


def test_what_the_published_notebook_reads(kaos: Run) -> None:
    kaos("agent", "wait", "worker", "--iterations", "1")
    events = json.loads(kaos("agent", "memory", "worker", "--json").stdout)["events"]
    assert {"user_message", "agent_response"} <= {event["event_type"] for event in events}
    card = json.loads(kaos("agent", "status", "worker", "--json").stdout)
    assert "jsonrpc" in card["supportedProtocols"] and "echo" in [skill["name"] for skill in card["skills"]]
    sent = json.loads(kaos("agent", "a2a", "send", "worker", "--message", "Say hello", "--json").stdout)
    assert sent["result"]["status"]["state"] == "completed"
    assert any(item["role"] == "agent" and item["parts"][0]["text"] for item in sent["result"]["history"])


def test_watching_prints_events_as_they_happen_and_not_at_the_end(kaos: Run, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [str(KAOS), "agent", "watch", "worker", "--json"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        begun = time.time()
        fresh = (json.loads(line) for line in process.stdout)
        event = next(e for e in fresh if e.get("event_type") == "iteration_started" and _time(e) > begun)
        assert time.time() - _time(event) < 2.0
    finally:
        process.terminate()
        process.wait(20)


def _time(event: dict[str, str]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["timestamp"]).timestamp()


def test_watch_ends_after_the_iterations_that_were_asked_for(kaos: Run) -> None:
    printed = kaos("agent", "watch", "worker", "--iterations", "2", "--json").stdout
    lines = [json.loads(line) for line in printed.splitlines()]
    ends = [line["metadata"]["iteration"] for line in lines if line.get("event_type") == "iteration_finished"]
    assert ends[-1] == ends[-2] + 1 and lines[-1]["event_type"] == "iteration_finished"


def test_a_paused_agent_holds_still_and_goes_on_when_resumed(kaos: Run) -> None:
    kaos("agent", "pause", "worker")
    stream = kaos("agent", "watch", "worker", "--timeout", "4", "--json").stdout.split("\n")
    last = [json.loads(line) for line in stream if line][-1]
    assert last["event_type"] == "paused" or "paused" in kaos("agent", "status", "worker").stdout
    done = json.loads(kaos("agent", "memory", "worker", "--json").stdout)["events"][-1]["metadata"]["iteration"]
    kaos("agent", "resume", "worker")
    kaos("agent", "wait", "worker", "--iterations", str(done + 1))


def test_a_manifest_that_fails_its_schema_names_path_and_reason(kaos: Run) -> None:
    manifest = {
        "apiVersion": "kaos.tools/v1alpha1",
        "kind": "Agent",
        "metadata": {"name": "broken"},
        "spec": {"modelAPI": "api", "model": "x", "config": {"reasoningLoopMaxSteps": 99}},
    }
    done = kaos("apply", "-f", "-", input=json.dumps(manifest), check=False)
    assert done.returncode == 1 and "spec.config.reasoningLoopMaxSteps" in done.stderr and done.stdout == ""
    misspelt = {**manifest, "spec": {"modelAPI": "api", "model": "x", "modle": "y"}}
    done = kaos("apply", "-f", "-", input=json.dumps(misspelt), check=False)
    assert done.returncode == 1 and ".spec.modle" in done.stderr
    assert kaos("agent", "get", "broken", check=False).returncode == 2


def test_names_complete_from_the_cluster(kaos: Run) -> None:
    assert kaos("__complete", "agent", "watch", "w").stdout.strip() == "worker"
    assert kaos("__complete", "agent", "list", "--namespace", "kube-s").stdout.strip() == "kube-system"
    assert kaos("__complete", "agent", "list", "--context", "").stdout.strip() == "kaos-default"


def test_a_namespace_without_agents_is_an_empty_list_and_all_namespaces_is_everything(kaos: Run) -> None:
    assert json.loads(kaos("agent", "list", "-n", "kube-system", "--json").stdout)["items"] == []
    assert "worker" in kaos("agent", "list", "-A").stdout


def test_deleting_waits_until_it_is_gone(kaos: Run) -> None:
    kaos("modelapi", "deploy", "passing")
    kaos("modelapi", "delete", "passing", "--wait")
    assert kaos("modelapi", "get", "passing", check=False).returncode == 2


OTHERS_AGENTS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "agents.core.orka.ai"},
    "spec": {
        "group": "core.orka.ai",
        "scope": "Namespaced",
        "names": {"plural": "agents", "kind": "Agent"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def test_kubectl_get_agents_means_ours_beside_another_group_with_that_kind(
    kaos: Run, environment: dict[str, str]
) -> None:
    def kubectl(*words: str, given: object = None) -> str:
        text = None if given is None else json.dumps(given)
        done = subprocess.run(["kubectl", *words], env=environment, input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    kubectl("apply", "-f", "-", given=OTHERS_AGENTS)
    try:
        kubectl("wait", "--for=condition=Established", "crd/agents.core.orka.ai", "--timeout=20s")
        template = {"apiVersion": "core.orka.ai/v1alpha1", "kind": "Agent", "metadata": {"name": "template"}}
        kubectl("apply", "-f", "-", given=template)
        assert kubectl("get", "agents", "-o", "name") == "agent.kaos.tools/worker\n"
        assert kubectl("get", "agents.core.orka.ai", "-o", "name") == "agent.core.orka.ai/template\n"
    finally:
        kubectl("delete", "crd", "agents.core.orka.ai")
