"""Importing this imports what our runtimes run on, so that a process that has done so can fork into any of them."""

from __future__ import annotations

import importlib
import os

from kaos_ext.runtime.start import lean

_IMPORTED_BY_RUNTIMES = (
    "kaos_ext.runtime.agent.app",
    "kaos_ext.runtime.agent.openai",
    "kaos_ext.kube.kubeconfig",
    "kaos_ext.runtime.modelapi.config",
    "kaos_ext.runtime.modelapi.proxy",
    "kaos_ext.runtime.shell_process",
    "setproctitle",
    "kaos_ext.runtime.mcp.app",
    "mcp.server",
    "mcp.server.mcpserver.exceptions",
    "mcp.server.transport_security",
    "mcp.types",
    "uvicorn",
)

# As the MCP server's own start does: looking for plugins means reading the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

with lean():
    for name in _IMPORTED_BY_RUNTIMES:
        importlib.import_module(name)
