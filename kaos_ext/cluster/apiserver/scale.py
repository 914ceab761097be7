"""The `scale` subresource: how many replicas an object asks for, whatever its kind calls them."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import invalid
from kaos_ext.kube.objects import Object

SCALE_KIND, SCALE_VERSION = "Scale", "autoscaling/v1"


def _at(object: Any, path: str) -> Any:
    for part in path.lstrip(".").split("."):
        object = object.get(part) if isinstance(object, dict) else None
    return object


def _paths(served: Served) -> tuple[str, str, str]:
    if served.definition is None:
        return ".spec.replicas", ".status.replicas", ""
    declared = served.definition.version(served.version).scale or {}
    return declared["specReplicasPath"], declared["statusReplicasPath"], declared.get("labelSelectorPath") or ""


def scale_of(served: Served, object: Object) -> Object:
    """The Scale of an object."""
    wanted_path, present_path, selector_path = _paths(served)
    meta = object["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    wanted = _at(object, wanted_path)
    status: Object = {"replicas": _at(object, present_path) or 0}
    selector = (
        _at(object, selector_path) if selector_path else _selector_text((object.get("spec") or {}).get("selector"))
    )
    if selector:
        status["selector"] = selector
    return {
        "kind": SCALE_KIND,
        "apiVersion": SCALE_VERSION,
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


def _selector_text(selector: Any) -> str:
    if not isinstance(selector, dict):
        return ""
    labels = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    terms = [f"{key}={value}" for key, value in sorted((labels or {}).items()) if isinstance(value, str)]
    for one in selector.get("matchExpressions") or ():
        values = ",".join(sorted(one.get("values") or ()))
        terms.append(
            {
                "In": f"{one['key']} in ({values})",
                "NotIn": f"{one['key']} notin ({values})",
                "Exists": one["key"],
                "DoesNotExist": f"!{one['key']}",
            }.get(one["operator"], one["key"])
        )
    return ",".join(terms)


def scaled(served: Served, object: Object, scale: Object) -> Object:
    """A copy of the object that asks for as many replicas as the Scale says."""
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    name = object["metadata"]["name"]
    if not isinstance(replicas, int) or replicas < 0:
        why = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise failures.invalid("autoscaling", SCALE_KIND, name, [why])
    version = (scale.get("metadata") or {}).get("resourceVersion")
    result: Object = copied(object)
    if version:
        result["metadata"]["resourceVersion"] = version
    *parents, last = _paths(served)[0].lstrip(".").split(".")
    place = result
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = replicas
    return result
