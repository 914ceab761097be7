"""The commands of everyday kubectl, in the order of a recording, with the real kubectl against the cluster.

Each must end with the status and say the words that it does on a real cluster. Those that follow are let go on until
they have said them; `top` must say that there are no metrics, as on any cluster without a metrics server.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.embedded import IMAGES, Embedded, embedded
from tests.conformance.outcome import Outcome

DATA = Path(__file__).parent / "data"
SECONDS = 30.0


@dataclass(frozen=True)
class Expected:
    says: str = "."
    status: tuple[int, ...] = (0,)
    follows: bool = False
    given: str = ""
    silent: bool = False
    errors: bool = False
    """What it says is on stderr."""


EXPECTED: dict[str, Expected] = {
    "create namespace team1": Expected("namespace/team1 created"),
    "apply -f dep.yaml": Expected("deployment.apps/web created"),
    "rollout status": Expected("successfully rolled out"),
    "wait --for": Expected("condition met"),
    "apply -f dep2.yaml": Expected("deployment.apps/web configured"),
    "apply --server-side": Expected("serverside-applied"),
    "get pods -o wide": Expected(
        r"NAME +READY +STATUS +RESTARTS +AGE +IP +NODE +NOMINATED NODE +READINESS GATES\nweb-"
    ),
    "get all": Expected(r"(?s)pod/web-.*service/kubernetes.*deployment.apps/web.*replicaset.apps/web-"),
    "get pods -w -o json": Expected('"kind": "Pod"', follows=True),
    "get pods -w": Expected(r"NAME +READY(.|\n)*web-", follows=True),
    "get deploy web -o yaml": Expected("kind: Deployment"),
    "describe deployment web": Expected(r"(?s)Name: +web\n.*NewReplicaSet: +web-.*Events:"),
    "describe pod": Expected(r"(?s)Name: +web-.*Conditions:.*Events:"),
    "describe ns": Expected(r"(?s)Status: +Active.*No resource quota"),
    "logs -f": Expected("start worker", follows=True),
    "logs {pod} --tail=5": Expected(r"\d{4}-\d\d-\d\dT\S+Z start worker"),
    "logs {pod} --previous": Expected("previous terminated container .* not found", status=(1,), errors=True),
    "logs -l app=web": Expected(r"\[pod/web-\S+/c\] start worker"),
    "exec {pod}": Expected("^hi$"),
    "exec -i": Expected("^given$", given="given\n"),
    "cp foo.yaml": Expected(silent=True),
    "attach": Expected("", follows=True),
    "port-forward": Expected("Forwarding from 127.0.0.1", follows=True),
    "patch deployment": Expected("patched"),
    "label deployment": Expected("labeled"),
    "annotate deployment": Expected("annotated"),
    "scale deployment": Expected("scaled"),
    "rollout restart": Expected("restarted"),
    "rollout history": Expected(r"REVISION +CHANGE-CAUSE\n1"),
    "rollout undo": Expected("rolled back"),
    "set image": Expected("image updated"),
    "set env": Expected("env updated"),
    "explain pod": Expected(r"KIND: +Pod\n(.|\n)*FIELD: containers <\[\]Container>"),
    "api-resources": Expected(r"(?s)configmaps +cm +v1 +true +ConfigMap.*deployments +deploy +apps/v1"),
    "api-versions": Expected(r"(?s)apps/v1\n.*\nv1\n"),
    "auth can-i list": Expected("^yes$"),
    "auth whoami": Expected("Username"),
    "auth can-i --list": Expected(r"\*\.\*"),
    "get events": Expected("deployment/web"),
    "events": Expected("Deployment/web"),
    "top pod": Expected("Metrics API not available", status=(1,), errors=True),
    "cluster-info": Expected("is running at"),
    "run p1": Expected("pod/p1 created"),
    "expose": Expected("service/web exposed"),
    "version": Expected("Server Version: v1"),
    "create token": Expected(r"^[\w-]+\.[\w-]+\.[\w-]+$"),
    "create": Expected("created"),
    "autoscale": Expected("autoscaled"),
    "diff": Expected(r"(?m)^[-+] ", status=(1,)),
    "replace": Expected("replaced"),
    "apply -f crd.yaml": Expected("foos.ex.dev created"),
    "apply -f foo.yaml": Expected("foo.ex.dev/f1 (created|unchanged)"),
    "get foos": Expected(r"NAME +AGE\nf1"),
    "explain foo.spec": Expected("What is wanted"),
    "patch foo": Expected("patched"),
    "get foo f1": Expected(r"status:\n +a: 1"),
    "delete": Expected("deleted"),
    "get --raw": Expected("^ok$"),
    "get ns": Expected("team1"),
    "get pods --field-selector": Expected("web-"),
    "cordon": Expected("cordoned"),
    "drain": Expected("drained"),
    "debug": Expected("profile|debug container", errors=True),
    "apply --prune": Expected("deployment.apps/web"),
}

STREAMS = "a stream into a pod: comes with the nodes"
KNOWN = dict.fromkeys((" exec ", " cp ", " attach ", " port-forward "), STREAMS)


def run(only: Sequence[str] = ()) -> Outcome:
    start = time.monotonic()
    commands = (DATA / "kubectl-commands.txt").read_text().splitlines()
    passed: list[str] = []
    failed: dict[str, str] = {}
    images = {**IMAGES, "busybox": {"command": [], "args": ["true"]}}
    work = Path(tempfile.mkdtemp(prefix="kubectl-"))
    try:
        with embedded(images) as cluster:
            for manifest in DATA.glob("*.yaml"):
                shutil.copy(manifest, work)
            for number, command in enumerate(commands, 1):
                wrong = _try(command, cluster, work)
                if wrong is None:
                    passed.append(f"{number} {command}")
                else:
                    failed[f"{number} {command}"] = wrong
            version = _run(["version", "--client", "-o", "json"], cluster, work)[1]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    client = str(json.loads(version)["clientVersion"]["gitVersion"])
    return Outcome("kubectl", client, tuple(passed), failed, KNOWN, seconds=time.monotonic() - start)


def _try(command: str, cluster: Embedded, work: Path) -> str | None:
    expected = EXPECTED[max((key for key in EXPECTED if command.startswith(key)), key=len)]
    pods = ["get", "pods", "-l", "app=web", "--sort-by=.metadata.creationTimestamp", "-o", "name"]
    places = {"{node}": lambda: _run(["get", "nodes", "-o", "name"], cluster, work)[1].strip().removeprefix("node/")}
    places["{pod}"] = lambda: _run([*pods, "--field-selector=status.phase=Running"], cluster, work)[1].split("\n")[0][
        4:
    ]
    for place, value in places.items():
        if place in command:
            command = command.replace(place, value())
    words = shlex.split(command)
    if expected.follows:
        return _follow(words, expected, cluster, work)
    status, out, errors = _run(words, cluster, work, expected.given)
    said = errors if expected.errors else out
    if status not in expected.status:
        return f"ended with {status}: {(errors or out).strip()[-300:]}"
    if not expected.silent and not re.search(expected.says, said, re.MULTILINE):
        return f"said {said.strip()[:300]!r} {errors.strip()[:200]!r}"
    return None


def _run(words: Sequence[str], cluster: Embedded, work: Path, given: str = "") -> tuple[int, str, str]:
    try:
        done = subprocess.run(
            ["kubectl", *words],
            env={**cluster.environment, "HOME": str(work)},
            cwd=work,
            input=given,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        return -1, "", f"did not end: {(late.stdout or b'')[-200:]!r} {(late.stderr or b'')[-200:]!r}"
    return done.returncode, done.stdout, done.stderr


def _follow(words: Sequence[str], expected: Expected, cluster: Embedded, work: Path) -> str | None:
    """Let it run until it has said what is expected, then end it."""
    log = work / "followed.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["kubectl", *words], env={**cluster.environment, "HOME": str(work)}, cwd=work, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + SECONDS / 3
        while time.monotonic() < deadline:
            said = log.read_text()
            if expected.says and re.search(expected.says, said, re.MULTILINE):
                return None
            if process.poll() is not None:
                return f"ended with {process.returncode}: {said.strip()[-300:]}"
            time.sleep(0.05)
        return None if not expected.says else f"said {log.read_text().strip()[-300:]!r}"
    finally:
        process.terminate()
        process.wait(10)
