"""The agent runtime: resident loop, chat, A2A, memory events."""
