"""The metadata of an object inside a custom resource: names, labels and annotations are checked like any other's."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError
from kaos_ext.cluster.apiserver.schema.names import label_value_errors, path_segment_errors, qualified_name_errors


def embedded_metadata_errors(metadata: dict[str, Any], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key in ("name", "generateName"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            found += [errors.invalid(f"{path}.{key}", value, why) for why in path_segment_errors(value)]
    for member, values_too in (("labels", True), ("annotations", False)):
        given = metadata.get(member)
        for key, value in given.items() if isinstance(given, dict) else ():
            checked = key if values_too else key.lower()
            found += [errors.invalid(f"{path}.{member}", key, why) for why in qualified_name_errors(checked)]
            if values_too and isinstance(value, str):
                found += [errors.invalid(f"{path}.{member}", value, why) for why in label_value_errors(value)]
    return found
