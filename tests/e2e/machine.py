"""A user's machine in a folder: its own home for clusters, its own kubeconfig, the real `kaos` and `kubectl`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parent.parent.parent
TICK = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Machine:
    """Runs commands as a user would, with nothing of the developer's own configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "kaos"
        self.kubeconfig = folder / "kubeconfig"
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
        self.environment = {
            **kept,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KAOS_HOME": str(self.home),
            "KUBECONFIG": str(self.kubeconfig),
        }

    def run(self, *command: str, check: bool = True, input: str | None = None, timeout: float = 90) -> Ran:
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, input=input, timeout=timeout
        )
        ran = Ran(done.returncode, done.stdout, done.stderr)
        assert not check or ran.status == 0, f"{' '.join(command)}: {ran}"
        return ran

    def kaos(self, *words: str, check: bool = True, input: str | None = None, timeout: float = 90) -> Ran:
        return self.run("kaos", *words, check=check, input=input, timeout=timeout)

    def kubectl(self, *words: str, check: bool = True, input: str | None = None) -> Ran:
        return self.run("kubectl", *words, check=check, input=input)

    def object(self, kind: str, name: str) -> Any:
        return self.kubectl("get", kind, name, "-o", "json").json

    def events(self, agent: str, *words: str) -> list[dict[str, Any]]:
        return list(self.kaos("agent", "memory", agent, "--limit", "1000", "--json", *words).json["events"])

    def iterations(self, agent: str) -> list[int]:
        """The iteration number of each time the goal was put to the model, in order."""
        return [
            event["metadata"]["iteration"]
            for event in self.events(agent)
            if event["event_type"] == "user_message" and event["metadata"].get("run") == "loop"
        ]

    def processes(self) -> list[psutil.Process]:
        """Every process that has to do with this machine's folder: by its arguments, its folder or its open files."""
        mark = str(self.folder)
        found = []
        for process in psutil.process_iter():
            try:
                named = any(mark in word for word in process.cmdline())
                if named or process.cwd().startswith(mark) or any(mark in f.path for f in process.open_files()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def process_of_pod(self, selector: str) -> psutil.Process:
        """The one process of the pod that the label selector finds, by its folder."""
        pods = self.kubectl("get", "pods", "-l", selector, "-A", "-o", "json").json["items"]
        uids = [pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        assert len(uids) == 1, f"pods of {selector}: {uids}"
        for process in self.processes():
            try:
                if uids[0] in process.cwd():
                    return process
            except psutil.NoSuchProcess:
                continue
        raise AssertionError(f"no process of the pod {selector} ({uids[0]})")


def eventually(what: str, probe: Callable[[], T], seconds: float = 30) -> T:
    """The first true answer of `probe`; fails naming `what` and the last answer or assertion when time is up."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            answer = probe()
        except AssertionError as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        time.sleep(TICK)
    raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last}")
