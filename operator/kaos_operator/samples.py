"""The samples that come with the operator, by name."""

from __future__ import annotations

from kaos_ext.kube.objects import Object
from kaos_operator.assets import asset_folder
from kaos_operator.documents import load_all


def sample_names() -> list[str]:
    """All of them, in order."""
    return sorted(path.stem for path in asset_folder("samples").glob("*.yaml"))


def sample_text(name: str) -> str:
    """The file as written, comments included; KeyError for a name there is not."""
    if name not in sample_names():
        raise KeyError(name)
    return (asset_folder("samples") / f"{name}.yaml").read_text("utf-8")


def sample_objects(name: str) -> list[Object]:
    """Its documents."""
    return load_all(sample_text(name))
