"""The node: agent, supervisor, service forwarder; they know only the Client protocol."""
