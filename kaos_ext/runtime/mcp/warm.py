"""Importing this imports what the MCP server runs on, so that a process that has done so can fork into one."""

from __future__ import annotations

import importlib
import os

_IMPORTED = (
    "kaos_ext.runtime.mcp.app",
    "kaos_ext.runtime.shell_process",
    "mcp.server",
    "mcp.server.mcpserver.exceptions",
    "mcp.server.transport_security",
    "mcp.types",
    "setproctitle",
    "uvicorn",
)

# As the server's own start does: looking for plugins means reading the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
for _name in _IMPORTED:
    importlib.import_module(_name)
