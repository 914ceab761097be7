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

WARM = {
    "agent": "kaos_ext.runtime.warm",
    "modelapi": "kaos_ext.runtime.warm",
    "mcp-python-string": "kaos_ext.runtime.mcp.warm",
}
"""What a program's template imports. Users' functions see our packages whether their server is forked or not; the
operator is one process, and would share nothing."""


def node_images() -> dict[str, Any]:
    """The table of a node agent: image name (any tag) to the command that is its entrypoint."""
    return {
        "images": {
            f"{REPOSITORY}/{name}": {"command": ["{python}", "-m", module], "args": [], "env": {}}
            | ({"template": [WARM[name]]} if name in WARM else {})
            for name, module in MODULES.items()
        }
    }
