"""Server-side apply: which manager set which field, merging, conflicts. Pure."""
