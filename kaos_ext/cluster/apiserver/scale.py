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
    if served.custom and wanted is None:
        raise failures.internal_error(f'the spec replicas field "{wanted_path}" does not exist')
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


def applied(served: Served, name: str, patch: Any) -> Object:
    """What applying a Scale applies to the object itself."""
    given = patch if isinstance(patch, dict) else {}
    kind, api_version = given.get("kind") or "", given.get("apiVersion") or ""
    if (kind, api_version) != (SCALE_KIND, SCALE_VERSION):
        group, _, version = api_version.rpartition("/")
        raise failures.bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
    part: Object = {"apiVersion": served.api_version, "kind": served.kind, "metadata": given.get("metadata") or {}}
    replicas = (given.get("spec") or {}).get("replicas")
    return part if replicas is None else _with_replicas(served, part, _checked(served, name, replicas))


def _checked(served: Served, name: str, replicas: Any) -> int:
    if served.custom and isinstance(replicas, int) and replicas < 0:
        why = invalid(_paths(served)[0], replicas, "should be a non-negative integer")
        raise failures.invalid(served.group, served.kind, name, [why])
    if not isinstance(replicas, int) or replicas < 0:
        why = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise failures.invalid("autoscaling", SCALE_KIND, name, [why])
    return replicas


def _with_replicas(served: Served, object: Object, replicas: int) -> Object:
    *parents, last = _paths(served)[0].lstrip(".").split(".")
    place = object
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = replicas
    return object


def scaled(served: Served, object: Object, scale: Object) -> Object:
    """A copy of the object that asks for as many replicas as the Scale says."""
    replicas = _checked(served, object["metadata"]["name"], (scale.get("spec") or {}).get("replicas") or 0)
    version = (scale.get("metadata") or {}).get("resourceVersion")
    result: Object = copied(object)
    if version:
        result["metadata"]["resourceVersion"] = version
    return _with_replicas(served, result, replicas)
