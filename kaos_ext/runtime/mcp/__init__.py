"""The MCP server runtime: functions of a Python source become tools."""
