"""Record which functions run in an agent's first seconds: kaos_ext/runtime/often.json, which templates gather.

    python benchmarks/often.py

In a cluster of its own, one agent runs as a fork of a template does, under a profiler, with another agent's pod's
kubeconfig: that its reports are refused in the end makes no difference here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import density

OUT = Path(__file__).parents[1] / "kaos_ext" / "runtime" / "often.json"
SECONDS = 12.0


def recorded(kubeconfig: Path, folder: str) -> None:
    """In a process of its own: be an agent for a while, and write down what ran."""
    import kaos_ext.runtime.warm  # noqa: F401
    from kaos_ext.cluster.node import template
    from kaos_ext.cluster.node.protocol import Birth
    from kaos_ext.runtime.shell import Shell

    ran: dict[CodeType, str] = {}

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            ran[frame.f_code] = frame.f_globals.get("__name__", "")

    usual = Shell._run

    async def run(self: Shell, main: Any) -> int:
        asyncio.get_running_loop().call_later(SECONDS, self.stopping.set)
        asyncio.get_running_loop().call_later(SECONDS - 1, sys.setprofile, None)
        return await usual(self, main)

    Shell._run = run  # type: ignore[method-assign]
    env = {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "LANG": "C.UTF-8",
        "KUBECONFIG": str(kubeconfig),
        "AGENT_NAME": "a000",
        "AGENT_STATE_DIR": folder,
        "POD_NAMESPACE": "default",
        "MODEL_NAME": "m",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DEBUG_MOCK_RESPONSES": '["All good."]',
        "AUTONOMOUS_GOAL": "look",
        "AUTONOMOUS_INTERVAL_SECONDS": "1",
        "AGENT_REPORTS_STATUS": "true",
    }
    resolver = template._resolver()
    sys.setprofile(note)
    try:
        template._become(Birth("kaos_ext.runtime.agent", [], env, "/"), resolver)
    finally:
        sys.setprofile(None)
        listed: defaultdict[str, set[str]] = defaultdict(set)
        for code, module in ran.items():
            if module not in ("", "__main__", "often", "density"):
                listed[module].add(code.co_qualname)
        OUT.write_text(json.dumps({name: sorted(listed[name]) for name in sorted(listed)}, indent=0) + "\n")


async def deploy(kubeconfig: str) -> None:
    from kaos_ext.kube.client import KubeClient

    kube = await KubeClient.connect(kubeconfig=kubeconfig)
    try:
        spec = {"mode": "Proxy", "proxyConfig": {"apiBase": "http://127.0.0.1:9", "models": ["*"]}}
        await kube.apply(density.resource("ModelAPI", "api", **spec))
        await kube.apply(density.agent("a000"))
        await density.addresses(kube, 1)
    finally:
        await kube.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="kaos-often-") as folder:
        home = {"HOME": folder, "KAOS_HOME": folder, "KUBECONFIG": f"{folder}/kubeconfig"}
        env = {"PATH": os.environ["PATH"], **home}
        density.kaos(env, "up", "density")
        try:
            asyncio.run(deploy(home["KUBECONFIG"]))
            pods = Path(folder, "clusters", "density", "node", "pods").iterdir()
            own = next(pod / "kubeconfig" for pod in pods if (pod / "volumes" / "control").exists())
            child = os.fork()
            if child == 0:
                recorded(own, tempfile.mkdtemp(dir=folder))
                os._exit(0)
            os.waitpid(child, 0)
        finally:
            density.kaos(env, "down", "density", "--delete")


if __name__ == "__main__":
    main()
