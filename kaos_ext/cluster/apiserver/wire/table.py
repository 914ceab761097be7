"""`meta.k8s.io` Tables: what `kubectl get` shows, made by the server.

Built-in kinds have a printer each (`printers`), CRDs their `additionalPrinterColumns`, everything else its name and
when it was created.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from kaos_ext.cluster.apiserver.data import table
from kaos_ext.cluster.apiserver.wire.ages import moment, since
from kaos_ext.cluster.apiserver.wire.jsonpath import compile_path
from kaos_ext.cluster.apiserver.wire.printers import PRINTERS
from kaos_ext.kube.objects import Resource

Object = dict[str, Any]
Cells = Callable[[Object, datetime], list[Any]]

GROUP_VERSION = "meta.k8s.io/v1"
_BUILTIN_GROUPS = frozenset({"", "apps", "batch", "policy", "autoscaling"})


def table_for(
    resource: Resource,
    objects: Iterable[Object],
    columns: Sequence[Mapping[str, Any]] | None,
    now: datetime,
    include_object: str = "Metadata",
) -> Object:
    """A Table; `columns` are a CRD version's own (None for built-in kinds), `include_object` as the query has it."""
    definitions, cells = _printer(resource, columns)
    return {
        "kind": "Table",
        "apiVersion": GROUP_VERSION,
        "metadata": {},
        "columnDefinitions": definitions,
        "rows": [row(obj, cells(obj, now), include_object) for obj in objects],
    }


def row(obj: Object, cells: list[Any], include_object: str = "Metadata") -> Object:
    """One row; conditions mark pods that have ended, which kubectl then greys."""
    made: Object = {"cells": cells}
    if obj.get("kind") == "Pod" and (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        phase = obj["status"]["phase"]
        said = "completed successfully" if phase == "Succeeded" else "failed"
        condition = {"type": "Completed", "status": "True", "reason": phase}
        made["conditions"] = [{**condition, "message": f"The pod has {said}."}]
    made["object"] = _included(obj, include_object)
    return made


def partial(obj: Object) -> Object:
    """Only the metadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": GROUP_VERSION, "metadata": obj.get("metadata") or {}}


def _included(obj: Object, include: str) -> Object | None:
    if include == "None":
        return None
    return obj if include == "Object" else partial(obj)


def _printer(resource: Resource, columns: Sequence[Mapping[str, Any]] | None) -> tuple[list[Object], Cells]:
    if columns is None:
        cells = PRINTERS.get(resource.kind) if _is_builtin(resource.group) else None
        listed = table("columns.json.gz").get(resource.kind) if cells else None
        if cells is not None and listed:
            return [_definition(*one) for one in listed], cells
        return _default_columns(), _default_cells
    if not columns:
        return [_name_column(), _age_column("Age", "date")], _custom_cells(_frozen([_AGE]))
    definitions = [_name_column()]
    for column in columns:
        described = column.get("description") or (
            f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
        )
        definitions.append(
            _definition(
                column["name"], column["type"], column.get("format") or "", described, column.get("priority") or 0
            )
        )
    return definitions, _custom_cells(_frozen(columns))


_AGE: Mapping[str, Any] = {"type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _is_builtin(group: str) -> bool:
    return group in _BUILTIN_GROUPS or group.endswith(".k8s.io")


def _definition(name: str, kind: str, form: str, description: str, priority: int) -> Object:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}


def _metadata_text(member: str) -> str:
    pods = {name: text for name, _, _, text, _ in table("columns.json.gz")["Pod"]}
    return str(pods["Name" if member == "name" else "Age"])


def _name_column() -> Object:
    return _definition("Name", "string", "name", _metadata_text("name"), 0)


def _age_column(name: str, kind: str) -> Object:
    return _definition(name, kind, "", _metadata_text("creationTimestamp"), 0)


def _default_columns() -> list[Object]:
    return [_name_column(), _age_column("Created At", "date")]


def _default_cells(obj: Object, now: datetime) -> list[Any]:
    metadata = obj.get("metadata") or {}
    return [metadata.get("name", ""), metadata.get("creationTimestamp")]


def _frozen(columns: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((column["type"], column["jsonPath"]) for column in columns)


@lru_cache(maxsize=256)
def _custom_cells(columns: tuple[tuple[str, str], ...]) -> Cells:
    readers = [(kind, compile_path(path)) for kind, path in columns]

    def cells(obj: Object, now: datetime) -> list[Any]:
        made: list[Any] = [(obj.get("metadata") or {}).get("name", "")]
        for kind, find in readers:
            found = find(obj)
            made.append(_cell(kind, found[0], now) if found else None)  # a cell shows the first value only
        return made

    return cells


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _cell(kind: str, value: Any, now: datetime) -> Any:
    """A value as its column's type shows it; what does not fit is not shown."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return None
    if kind == "integer":
        return int(value) if number else None
    if kind == "number":
        return float(value) if number else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date":
        if not isinstance(value, str):
            return None
        return since(value, now) if moment(value) else "<invalid>"
    return _text(value)
