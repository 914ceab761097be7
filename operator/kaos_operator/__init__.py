"""The operator on kopf: thin handlers over pure renderers."""
