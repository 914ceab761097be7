"""A module whose file changes while a template has it imported."""
