"""Decisions, pure: what an agent does next, and the folds of its events into status."""
