"""The embedded Kubernetes API server (`server.ApiServer`): one process, one SQLite log, any Kubernetes client."""
