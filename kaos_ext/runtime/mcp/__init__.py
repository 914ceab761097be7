"""The python-string MCP server: the functions of a piece of Python source, served as tools."""
