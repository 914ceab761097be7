"""The allow-list of images: what stands in for an image when its container is a process.

    {"images": {"example/agent": {"command": ["{python}", "-m", "agent"], "args": [], "env": {"A": "b"},
                                  "template": ["agent_imports"]}}}

A key is a glob over image names; without a tag it stands for every tag. `{python}` is this interpreter. An image that
is not in the table never runs, whatever command its container gives: the table is the security boundary. `template`
lists modules that a warm process imports once and then forks into the image's containers; without it they are exec'd.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Image:
    """An image's own configuration, as a Dockerfile's ENTRYPOINT, CMD and ENV would give it."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    template: tuple[str, ...] = ()

    def argv(self, command: list[str] | None, args: list[str] | None, python: str) -> list[str]:
        """Kubernetes' rule: `command` replaces the entrypoint and drops the image's args; `args` replaces those."""
        if command:
            return [*command, *(args or [])]
        own = [part.replace("{python}", python) for part in (*self.command, *(() if args else self.args))]
        return own + list(args or [])


def familiar(image: str) -> str:
    """An image's name without the default registry."""
    for prefix in ("docker.io/library/", "docker.io/"):
        if image.startswith(prefix):
            return image[len(prefix) :]
    return image


def without_tag(image: str) -> str:
    name = image.split("@", 1)[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.split(":", 1)[0]


def _tagged(name: str) -> bool:
    return "@" in name or ":" in name.rpartition("/")[2]


class ImageTable:
    """The table, read again when its file changes."""

    def __init__(self, images: Mapping[str, Image], path: Path | None = None) -> None:
        self._images = dict(images)
        self._path = path
        self._stamp = _stamp(path)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: Path | None = None) -> ImageTable:
        return cls(_parse(value), path)

    @classmethod
    def load(cls, path: Path) -> ImageTable:
        return cls.from_json(json.loads(path.read_text()), path)

    @property
    def names(self) -> list[str]:
        self._refresh()
        return sorted(self._images)

    @property
    def templates(self) -> list[tuple[str, ...]]:
        """Every template that an image names, once."""
        self._refresh()
        return sorted({image.template for image in self._images.values() if image.template})

    @property
    def source(self) -> str:
        return str(self._path) if self._path else "the node's image table"

    def find(self, image: str) -> Image | None:
        """The entry of an image; the longest matching key wins."""
        self._refresh()
        name = familiar(image)
        bare = without_tag(name)
        matching = [key for key in self._images if fnmatchcase(name if _tagged(key) else bare, familiar(key))]
        return self._images[max(matching, key=len)] if matching else None

    def _refresh(self) -> None:
        if self._path is None:
            return
        stamp = _stamp(self._path)
        if stamp != self._stamp and stamp is not None:
            self._images = _parse(json.loads(self._path.read_text()))
            self._stamp = stamp


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def _parse(value: Mapping[str, Any]) -> dict[str, Image]:
    return {
        name: Image(
            tuple(entry.get("command") or ()),
            tuple(entry.get("args") or ()),
            dict(entry.get("env") or {}),
            tuple(entry.get("template") or ()),
        )
        for name, entry in (value.get("images") or {}).items()
    }
