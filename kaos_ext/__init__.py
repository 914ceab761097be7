"""KAOS for Jupyter: autonomous agents on Kubernetes, from a notebook cell.

`%load_ext kaos_ext` gives the `%kaos` magic; the `kaos` command is its twin in a terminal. Importing this package costs
nothing: everything behind it is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the `%kaos` magic; called by `%load_ext kaos_ext`."""
    from kaos_ext.notebook import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the magic and its live views away again; called by `%unload_ext kaos_ext`."""
    from kaos_ext.notebook import unload

    unload(shell)
