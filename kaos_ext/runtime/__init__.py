"""The programs in pods: `agent`, `mcp`, `modelapi`, in one service shell."""
