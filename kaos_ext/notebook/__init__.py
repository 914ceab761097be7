"""The face in a notebook: the magic, displays, widgets."""
