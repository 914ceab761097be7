"""The images pods run, and what each is on a node where pods are processes.

One wheel, one image per program. A real cluster pulls them; the embedded one starts the same program by the table
`node_images()`, which is also its allow-list: an image that is not in it does not run.
"""

from __future__ import annotations

from typing import Any

from kaos_ext import __version__

REPOSITORY = "kaos-ext"
NAMES = ("agent", "mcp-python-string", "modelapi", "operator")

OLLAMA = "ollama/ollama:0.12.3"
KUBERNETES_MCP = "quay.io/containers/kubernetes_mcp_server:v0.0.67"
SLACK_MCP = "zencoderai/slack-mcp:0.0.1"


def image(name: str) -> str:
    """Full name of one of our images, tagged with this version."""
    if name not in NAMES:
        raise ValueError(f"no image {name!r}; there are {', '.join(NAMES)}")
    return f"{REPOSITORY}/{name}:{__version__}"


AGENT = image("agent")
MCP_PYTHON_STRING = image("mcp-python-string")
MODELAPI = image("modelapi")
OPERATOR = image("operator")

MODULES = {
    "agent": "kaos_ext.runtime.agent",
    "mcp-python-string": "kaos_ext.runtime.mcp",
    "modelapi": "kaos_ext.runtime.modelapi",
    "operator": "kaos_operator",
}

WARM = "kaos_ext.runtime.warm"
"""What our runtimes import. The operator is one process, and nothing would be shared with it."""
FORKED = frozenset(MODULES) - {"operator"}
"""Images whose program runs nothing that this installation has not: users' functions see our packages either way."""


def node_images() -> dict[str, Any]:
    """The table of a node agent: image name (any tag) to the command that is its entrypoint."""
    return {
        "images": {
            f"{REPOSITORY}/{name}": {"command": ["{python}", "-m", module], "args": [], "env": {}}
            | ({"template": [WARM]} if name in FORKED else {})
            for name, module in MODULES.items()
        }
    }
