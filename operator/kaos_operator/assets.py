"""Where the files beside the code are: inside the wheel, or in the checkout next to the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def asset_folder(name: str) -> Path:
    """The folder `crds` or `samples`."""
    for folder in (_PACKAGE / "_assets" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the {name} are missing: neither in the package nor in a checkout around it")
