"""The CRD files: written from the models, and read by whoever installs them.

`python -m kaos_operator.crds --write` renders `operator/crds/*.yaml`; `--check` fails when a file is not what the
models say.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from kaos_operator.assets import asset_folder
from kaos_operator.documents import dump, load


def read_crds() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions as shipped; costs no pydantic."""
    return [load(path.read_text("utf-8")) for path in sorted(asset_folder("crds").glob("*.yaml"))]


def rendered_files() -> dict[str, str]:
    """File name to text, from the models."""
    from kaos_ext.model.kinds.crds import render_crds

    return {f"{crd['metadata']['name']}.yaml": dump(crd) for crd in render_crds()}


def drift(folder: Path) -> list[str]:
    """Names of the files that differ from the models, are missing or are too many."""
    wanted = rendered_files()
    present = {path.name: path.read_text("utf-8") for path in folder.glob("*.yaml")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    """The command; 1 when files drifted."""
    folder = asset_folder("crds")
    if arguments == ["--write"]:
        wanted = rendered_files()
        for path in folder.glob("*.yaml"):
            if path.name not in wanted:
                path.unlink()
        for name, text in wanted.items():
            (folder / name).write_text(text, "utf-8")
        return 0
    if arguments == ["--check"]:
        names = drift(folder)
        for name in names:
            print(f"{name} is not what the models say; run: python -m kaos_operator.crds --write", file=sys.stderr)
        return 1 if names else 0
    print("usage: python -m kaos_operator.crds --write | --check", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
