"""Admission webhooks: which are asked about a write, what they are sent, what their answers mean."""
