"""Request bodies: JSON, YAML or protobuf into an object, with the real server's words when they are none."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.negotiate import JSON, OFFERED, PROTOBUF, YAML
from kaos_ext.kube.objects import ApiError, Object

LIMIT = 3 * 1024 * 1024


def media_type(content_type: str | None) -> str:
    return (content_type or JSON).partition(";")[0].strip().lower()


def decode(
    body: bytes, content_type: str | None, kind: str, *, find_duplicates: bool = False
) -> tuple[Object, list[str]]:
    """The object, and the paths of fields that were given twice (only looked for when asked)."""
    media = media_type(content_type)
    twice: list[str] = []
    if media in (JSON, "*/*", "application/octet-stream", ""):
        value = _from_json(body, kind, twice if find_duplicates else None)
    elif media in (YAML, "application/x-yaml", "text/yaml"):
        value = from_yaml(body)
    elif media == PROTOBUF:
        value = _from_protobuf(body)
    else:
        raise failures.unsupported_media_type(OFFERED)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise _unrecognized(kind, body, _go_mismatch(value) + _GO_TYPE, hexadecimal=True)
    return value, twice


_GO_TYPE = (
    ' into Go value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; '
    'Kind string "json:\\"kind,omitempty\\"" }'
)


def _go_mismatch(value: Any) -> str:
    kinds: dict[type, str] = {list: "array", str: "string", int: "number", float: "number", bool: "bool"}
    return f"json: cannot unmarshal {kinds.get(type(value), 'value')}"


def _unrecognized(kind: str, body: bytes, why: str, *, hexadecimal: bool = False) -> ApiError:
    text = body.decode("utf-8", "replace")
    shown = "<empty>" if not body else body.hex() if hexadecimal else text
    return failures.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: "
        f"{why} ({shown})"
    )


def _from_json(body: bytes, kind: str, found: list[str] | None) -> Any:
    try:
        text = body.decode("utf-8", "replace")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unrecognized(kind, body, go_json_error(body.decode("utf-8", "replace"), error)) from None
    if found is not None:
        found += duplicates(text)
    return value


def go_json_error(text: str, error: Exception) -> str:
    """A JSON error as Go says it."""
    position = getattr(error, "pos", len(text))
    rest = text[position:].lstrip() if position < len(text) else ""
    if not rest:
        return "unexpected end of JSON input"
    message = str(error)
    if "property name" in message:
        return f"invalid character '{rest[0]}' looking for beginning of object key string"
    if "delimiter" in message:
        before = "after object key" if "':'" in message else "after object key:value pair"
        return f"invalid character '{rest[0]}' {before}"
    if "Extra data" in message:
        return f"invalid character '{rest[0]}' after top-level value"
    return f"invalid character '{rest[0]}' looking for beginning of value"


class _Twice(dict[str, Any]):
    """An object that remembers which of its keys came twice."""

    twice: tuple[str, ...] = ()


def duplicates(text: str) -> list[str]:
    """The paths of members that come twice."""
    if not _may_repeat(text):
        return []

    def pairs(items: list[tuple[str, Any]]) -> _Twice:
        made = _Twice(items)
        if len(made) != len(items):
            seen: set[str] = set()
            twice = []
            for key, _ in items:
                if key in seen and key not in twice:
                    twice.append(key)
                seen.add(key)
            made.twice = tuple(twice)
        return made

    found: list[str] = []
    _collect(json.loads(text, object_pairs_hook=pairs), "", found)
    return found


def _may_repeat(text: str) -> bool:
    keys = re.findall(r'"((?:[^"\\]|\\.)*)"\s*:', text)
    return len(keys) != len(set(keys))


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Twice):
        found += [f"{path}.{key}".lstrip(".") for key in value.twice]
        for key, one in value.items():
            _collect(one, f"{path}.{key}", found)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _collect(one, f"{path}[{index}]", found)


def from_yaml(body: bytes) -> Any:
    if body.lstrip()[:1] == b"{":  # most YAML on the wire is JSON, which is read ten times faster
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _plain(yaml.load(body, Loader=loader))  # noqa: S506 (a safe loader)
    except yaml.YAMLError as error:
        raise failures.bad_request(f"error converting YAML to JSON: yaml: {_yaml_problem(error)}") from None
    except RecursionError:
        raise failures.bad_request("error converting YAML to JSON: yaml: exceeded max depth") from None


def yaml_duplicates(body: bytes) -> list[str]:
    """Which keys of a YAML mapping come twice, as Go says it."""
    import yaml

    if body.lstrip()[:1] == b"{":
        with contextlib.suppress(ValueError, RecursionError):
            if not duplicates(body.decode("utf-8", "replace")):
                return []
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                seen.add(key.value)
                look(value)
        elif isinstance(node, yaml.SequenceNode):
            for one in node.value:
                look(one)

    look(yaml.compose(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    return found


def _yaml_problem(error: Exception) -> str:
    """A YAML error as Go says it."""
    from yaml.scanner import ScannerError

    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    line = 0
    if mark is not None and mark.line:
        line = mark.line + isinstance(error, ScannerError)
    elif context is not None:
        line = context.line
    return f"line {line}: {problem}" if line else problem


def _plain(value: Any) -> Any:
    """YAML's dates and non-string keys, as JSON has them."""
    if isinstance(value, dict):
        return {str(key) if not isinstance(key, bool) else str(key).lower(): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if hasattr(value, "isoformat"):
        text = value.isoformat()
        return text.replace("+00:00", "Z") if "T" in text else text
    return str(value)


def _from_protobuf(body: bytes) -> Any:
    from kaos_ext.cluster.apiserver.wire import protobuf

    try:
        return protobuf.decode(body)
    except protobuf.ProtobufError as error:
        raise failures.bad_request(f"the protobuf body cannot be read: {error}") from None


def duplicate_words(paths: Iterable[str]) -> list[str]:
    return [f'duplicate field "{path}"' for path in paths]


class _Pairs(list[tuple[str, Any]]):
    """An object's members as they are written."""


def in_order(text: str, words: Iterable[str]) -> list[str]:
    """What is unknown and what comes twice, in the order in which a decoder comes upon it."""
    places: dict[str, int] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for key, one in value:
                at = f"{path}.{key}".lstrip(".")
                word = f'duplicate field "{at}"' if key in seen else f'unknown field "{at}"'
                places.setdefault(word, len(places))
                seen.add(key)
                visit(one, at)
        elif isinstance(value, list):
            for index, one in enumerate(value):
                visit(one, f"{path}[{index}]")

    visit(json.loads(text, object_pairs_hook=_Pairs), "")
    return sorted(words, key=lambda word: places.get(word, len(places)))
