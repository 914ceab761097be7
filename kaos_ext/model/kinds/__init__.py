"""Both API groups' kinds as pydantic models, from which the CRDs are rendered."""

from __future__ import annotations

from kaos_ext.model.kinds.agent import Agent
from kaos_ext.model.kinds.mcpserver import MCPServer
from kaos_ext.model.kinds.modelapi import ModelAPI

__all__ = ["Agent", "MCPServer", "ModelAPI"]
