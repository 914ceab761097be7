"""Controllers of the embedded cluster; they know only the Client protocol."""
