"""`spec.podSpec` over a generated PodSpec, by the rules of a strategic merge patch.

Maps merge by key, a null deletes. Lists of named things merge element by element; the directives `$patch: delete` and
`$patch: replace` are known. Every other list is replaced.
"""

from __future__ import annotations

from typing import Any

from kaos_ext.kube.objects import Object

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}
_VOLUME_SOURCES_ARE_ONE = "volumes"


def merge_pod_spec(base: Object, patch: Object) -> Object:
    """A new PodSpec; neither argument is changed."""
    return _merge_map(base, patch)


def _merge_map(base: Object, patch: Object) -> Object:
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    result = dict(base)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            current = result.get(key)
            result[key] = _merge_map(current if isinstance(current, dict) else {}, value)
        elif isinstance(value, list) and key in _MERGE_KEYS and all(isinstance(item, dict) for item in value):
            result[key] = _merge_list(result.get(key) or [], value, key)
        else:
            result[key] = value
    return result


def _merge_list(base: list[Any], patch: list[Any], name: str) -> list[Any]:
    key = _MERGE_KEYS[name]
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    result = list(base)
    for item in patch:
        at = next((i for i, present in enumerate(result) if present.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_merge_map({}, item))
        elif name == _VOLUME_SOURCES_ARE_ONE and item.keys() - {key} and item.keys() != result[at].keys():
            # another source for the same volume: keeping both would be invalid
            result[at] = _merge_map({}, item)
        else:
            result[at] = _merge_map(result[at], item)
    return result
