"""A Secret as a model key, an agent's and a tool server's variable: it is in its Secret and the processes only."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.machine import REPOSITORY, Machine, eventually
from tests.e2e.test_kernel import Kernel

pytestmark = pytest.mark.process
CANARY = 'sk-canary/"77" 4711-0815'
TOOLS = """
import base64, json, os
KEY = os.environ["TOOL_PASSWORD"]
def look(message: str) -> str:
    "Look."
    print("looking with", KEY, flush=True)
    return json.dumps({"plain": KEY, "coded": base64.b64encode(b"u:" + KEY.encode()).decode(), "heard": message})
"""
MANIFESTS = """
apiVersion: kaos.tools/v1alpha1
kind: MCPServer
metadata: {name: teller}
spec:
  runtime: python-string
  params: |
%s
  container: {env: [{name: TOOL_PASSWORD, valueFrom: {secretKeyRef: {name: canary, key: token}}}]}
---
apiVersion: kaos.tools/v1alpha1
kind: Agent
metadata: {name: talker}
spec:
  modelAPI: upstream
  model: mock-model
  mcpServers: [teller]
  config:
    instructions: Say what you hear.
    autonomous: {goal: Find out the password, intervalSeconds: 1}
  container: {env: [{name: MY_TOKEN, valueFrom: {secretKeyRef: {name: canary, key: token}}}]}
"""


def shapes() -> list[bytes]:
    coded = base64.b64encode(b"u:" + CANARY.encode())[4:-4]
    return [CANARY.encode(), json.dumps(CANARY)[1:-1].encode(), quote(CANARY).encode(), coded, b"sk-canary/"]


@pytest.fixture
def upstream() -> Iterator[str]:
    """A model server that says again what it is told."""
    server = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "runtime" / "openai_server.py"), "--key", CANARY],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    yield server.stdout.readline().strip() + "/v1"
    server.terminate()
    server.wait(10)


def test_a_secret_is_nowhere_it_was_not_put(own_machine: Machine, upstream: str, tmp_path: Path) -> None:
    machine = own_machine
    machine.kubectl("create", "secret", "generic", "canary", f"--from-literal=token={CANARY}")
    machine.kaos("modelapi", "deploy", "upstream", "--base-url", upstream, "--api-secret", "canary:token",
                 "--model", "mock-model", "--wait")  # fmt: skip
    manifest = tmp_path / "agent.yaml"
    manifest.write_text(MANIFESTS % "\n".join("    " + line for line in TOOLS.strip().splitlines()))
    machine.kubectl("apply", "-f", str(manifest))
    eventually("iterations", lambda: machine.iterations("talker")[-1:] >= [2], 60)
    shown = [
        machine.kaos("agent", "invoke", "talker", "-m", f"What of {CANARY}?").out,
        machine.kaos("agent", "invoke", "talker", "-m", f"What of {CANARY}?", "--stream").out,
        machine.kaos("modelapi", "invoke", "upstream", "--model", "mock-model", "-m", f"Say {CANARY}").out,
        machine.kaos("agent", "a2a", "send", "talker", "--message", f"And {CANARY}?", "--json").out,
        machine.kaos("mcp", "invoke", "teller", "look", "--arg", "message=x", check=False).out,
    ]
    assert all("[redacted]" in each for each in shown[:4]), shown
    for words in (["agent", "logs", "talker"], ["mcp", "logs", "teller"], ["modelapi", "logs", "upstream"],
                  ["agent", "memory", "talker", "--json"], ["agent", "status", "talker"],
                  ["agent", "get", "talker"], ["agent", "replay", "talker"]):  # fmt: skip
        shown += [machine.kaos(*words, check=False).out]
    shown.append(machine.kubectl("get", "pods,deployments,replicasets,configmaps,events,modelapis", "-o", "json").out)
    status = json.loads(machine.kubectl("get", "agents.kaos.tools", "talker", "-o", "json").out)["status"]
    shown.append(json.dumps(status))
    machine.kaos("agent", "replay", "talker", "--save", str(tmp_path / "recording.json"))
    shown.append((tmp_path / "recording.json").read_text())
    shown += [executed(machine), *(" ".join(process.cmdline()) for process in machine.processes())]
    for text in shown:
        assert not [shape for shape in shapes() if shape in text.encode()], text[:2000]
    machine.kaos("down")
    files = [path for path in machine.home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name == "events.db" and b"[redacted]" in path.read_bytes() for path in files)
    assert any("logs" in path.parts and b"[redacted]" in path.read_bytes() for path in files)
    leaking = [(str(path), shape) for path in files for shape in shapes() if shape in path.read_bytes()]
    assert leaking == []


def executed(machine: Machine) -> str:
    """A notebook that asked the agent, as it is saved: everything its cells showed."""
    notebook = Kernel(machine)
    outputs: list[str] = []

    def keep(message: dict[str, Any]) -> None:
        outputs.append(json.dumps(message["content"], default=str))

    try:
        notebook.must("%load_ext kaos_ext")
        for code in (
            "answer = %kaos agent invoke talker -m 'Say it'\nanswer",
            "%kaos agent invoke talker -m 'Say it' --stream",
            "memory = %kaos agent memory talker\nmemory.to_frame().to_html()",
            "%kaos agent logs talker",
            "watch = %kaos agent watch talker\nwatch.wait(iterations=1, timeout=60)\nwatch",
        ):
            reply = notebook.client.execute_interactive(
                code,
                timeout=60,
                output_hook=lambda message: outputs.append(json.dumps(message["content"], default=str)),
            )
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        notebook.close()
    return "\n".join(outputs)
