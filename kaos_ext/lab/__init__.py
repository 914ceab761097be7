"""The face in JupyterLab."""
