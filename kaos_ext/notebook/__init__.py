"""The face in a notebook: the `%kaos` magic, displays, widgets.

    line, cell ─ words (quotes, variables) ─ the grammar ─ a verb on the background loop ─ Answer or Watch
                                     errors ─ a few red lines             Frame ─ a display that changes

`load` only registers the magic and its completion; everything else is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_ATTRIBUTE = "_kaos_magics"


def load(shell: InteractiveShell) -> None:
    """Register `%kaos`; loading twice changes nothing."""
    if getattr(shell, _ATTRIBUTE, None) is not None:
        return
    from kaos_ext.notebook.magic import KaosMagics

    magics = KaosMagics(shell)
    magics.install()
    setattr(shell, _ATTRIBUTE, magics)


def unload(shell: InteractiveShell) -> None:
    """Take the magic away, end live views and the background thread; agents and clusters go on."""
    magics = getattr(shell, _ATTRIBUTE, None)
    if magics is not None:
        magics.uninstall()
        setattr(shell, _ATTRIBUTE, None)
