"""Recorded requests and answers of a real Kubernetes 1.36.3, for tests of the pure parts."""

from __future__ import annotations

import copy
import gzip
import json
import re
import urllib.parse
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kaos_ext.cluster.apiserver.wire.discovery import builtin_items

_FILE = Path(__file__).parent / "data" / "golden.jsonl.gz"


@dataclass(frozen=True)
class Pair:
    """One request and its answer."""

    index: int
    name: str
    method: str
    path: str
    query: dict[str, str]
    content_type: str
    sent: Any
    status: int
    answer: dict[str, Any]

    @property
    def message(self) -> str:
        return self.answer.get("message", "") if self.answer.get("kind") == "Status" else ""

    @property
    def _place(self) -> tuple[str, str, list[str]]:
        """Group, version and what follows them."""
        parts = self.path.strip("/").split("/")
        if parts[0] == "api":
            parts.insert(1, "")
        _, group, version = [*parts, "", ""][:3]
        return group, version, parts[3:]

    @property
    def group(self) -> str:
        return self._place[0]

    @property
    def version(self) -> str:
        return self._place[1]

    @property
    def rest(self) -> list[str]:
        """What follows the version, without the namespace."""
        parts = self._place[2]
        return parts[2:] if parts[:1] == ["namespaces"] and len(parts) > 2 else parts

    @property
    def namespace(self) -> str:
        found = re.search(r"/namespaces/([^/]+)/", self.path)
        return found[1] if found else ""

    @property
    def kind(self) -> str:
        """The built-in kind the path speaks of, empty for others."""
        return _kinds().get((self.group, self.version, self.rest[0]), "") if self.rest else ""

    @property
    def gvk(self) -> tuple[str, str, str]:
        return (self.group, self.version, self.kind)

    @property
    def body(self) -> Any:
        return copy.deepcopy(self.sent)


@cache
def pairs() -> tuple[Pair, ...]:
    found = []
    for line in gzip.decompress(_FILE.read_bytes()).decode().splitlines():
        record = json.loads(line)
        request = record["request"]
        path, _, query = request["path"].partition("?")
        found.append(
            Pair(
                record["index"],
                record["name"],
                request["method"],
                path,
                dict(urllib.parse.parse_qsl(query)),
                request.get("contentType", ""),
                request.get("body"),
                record["status"],
                record["body"],
            )
        )
    return tuple(found)


def pair(name: str) -> Pair:
    """The first pair of that name."""
    return next(one for one in pairs() if one.name == name)


def wording(text: str) -> list[str]:
    """A message's parts in any order (the real server's vary)."""
    return sorted(re.split(r"[,\[\]]\s*", text))


@cache
def _kinds() -> dict[tuple[str, str, str], str]:
    return {
        (item["metadata"]["name"], version["version"], resource["resource"]): resource["responseKind"]["kind"]
        for item in builtin_items()
        for version in item["versions"]
        for resource in version["resources"]
    }
