"""What a request wants, as authorization sees it: a verb on a resource, or on a path that is none.

Read from method, path and query alone, before anything is looked up: whoever may not ask does not learn what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from kaos_ext.cluster.apiserver.options import is_true

_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_NAMESPACES = frozenset({"status", "finalize"})


class Attributes(NamedTuple):
    """With a `path` it is no resource; an empty `namespace` is all of them, or none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    version: str = ""
    path: str = ""

    @property
    def combined(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_request(method: str, raw_path: str, query: Mapping[str, str]) -> Attributes:
    """The attributes of an HTTP request."""
    parts = [unquote(part) for part in raw_path.strip("/").split("/")]
    core = parts[0] == "api"
    head = 2 if core else 3
    if parts[0] not in ("api", "apis") or len(parts) <= head:
        return Attributes(method.lower(), path=unquote(raw_path))
    group, version = ("", parts[1]) if core else (parts[1], parts[2])
    verb, rest = _VERBS.get(method, ""), parts[head:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _OF_NAMESPACES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if not name:
        if verb == "get":
            verb = "watch" if is_true(query, "watch") else "list"
            name = _named(query.get("fieldSelector", ""))
        elif verb == "delete":
            verb = "deletecollection"
    return Attributes(verb, group, rest[0], subresource, namespace, name, version)


def _named(selector: str) -> str:
    """The one name a field selector asks for."""
    for term in selector.split(","):
        field, sign, value = term.partition("=")
        if field == "metadata.name" and sign:
            return value.lstrip("=")
    return ""
