"""The embedded cluster: API server, controllers and node agent in one daemon on loopback. Knows no KAOS kind."""
