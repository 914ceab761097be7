"""YAML as people expect it: keys in the order written, long text as a block, and the fast loader where there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def load(text: str) -> Any:
    """One document."""
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - one of the two safe loaders


def load_all(text: str) -> list[dict[str, Any]]:
    """Every document that is not empty."""
    return [document for document in yaml.load_all(text, Loader=_LOADER) if document]


def dump(document: Any) -> str:
    """One document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def dump_all(documents: Iterable[Any]) -> str:
    """A stream of documents, separated by `---`."""
    return "---\n".join(dump(document) for document in documents)
