"""Parts of a Pod that are told apart by their names: containers, volumes."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import dns_label_errors

Object = dict[str, Any]


def part_name_errors(part: Object, path: str, names: set[str]) -> list[FieldError]:
    """The name of one part, which no other part among `names` may have."""
    name = part.get("name") or ""
    if not name:
        return [errors.required(f"{path}.name")]
    found = [errors.invalid(f"{path}.name", name, why) for why in dns_label_errors(name)]
    if not found and name in names:
        found.append(errors.duplicate(f"{path}.name", name))
    names.add(name)
    return found
