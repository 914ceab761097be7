"""The agent: a service that answers (chat completions, A2A) and may run a resident loop, every step on record."""
