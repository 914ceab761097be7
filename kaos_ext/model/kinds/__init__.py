"""Both API groups' kinds as pydantic models, from which the CRDs are rendered."""
