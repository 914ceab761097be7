"""What one object counts for in a quota, and whether a quota counts it at all. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from kaos_ext.cluster.apiserver.schema.quantities import QuantityError, canonical, value
from kaos_ext.kube.objects import Object

Usage = dict[str, Fraction]
_BY_NAME = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
    }
)
"""Core kinds whose plain name is a quota's resource."""
_CLASS = ".storageclass.storage.k8s.io/"
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def collection_of(resource: str) -> str | None:
    """The storage whose objects count for a quota's resource; None when none of ours do."""
    if resource.startswith("count/"):
        plural, _, group = resource.removeprefix("count/").partition(".")
        return f"{group}/{plural}"
    if resource.startswith("services."):
        return "/services"
    if resource == "requests.storage" or _CLASS in resource:
        return "/persistentvolumeclaims"
    if resource in _BY_NAME:
        return f"/{resource}"
    return "/pods"


def usage_of(storage: str, object: Object) -> Usage:
    """What an object of a storage counts for."""
    group, _, plural = storage.rpartition("/")
    found: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Fraction(1)}
    if group == "" and plural in _BY_NAME and plural != "pods":
        found[plural] = Fraction(1)
    if storage == "/pods":
        found |= _pod(object)
    elif storage == "/services":
        found |= _service(object.get("spec") or {})
    elif storage == "/persistentvolumeclaims":
        found |= _claim(object.get("spec") or {})
    return found


def _service(spec: Object) -> Usage:
    found: Usage = {}
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        ports = len(spec.get("ports") or ())
        if spec["type"] == "LoadBalancer":
            found["services.loadbalancers"] = Fraction(1)
            if spec.get("allocateLoadBalancerNodePorts") is False:
                ports = sum(bool(port.get("nodePort")) for port in spec.get("ports") or ())
        found["services.nodeports"] = Fraction(ports)
    return found


def _claim(spec: Object) -> Usage:
    size = amount(((spec.get("resources") or {}).get("requests") or {}).get("storage"))
    found = {"requests.storage": size}
    name = spec.get("storageClassName")
    if name:
        found |= {f"{name}{_CLASS}requests.storage": size, f"{name}{_CLASS}persistentvolumeclaims": Fraction(1)}
    return found


def is_over(pod: Object) -> bool:
    """A Pod that has ended uses nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _pod(pod: Object) -> Usage:
    if is_over(pod):
        return {}
    found: Usage = {"pods": Fraction(1)}
    for kind, prefix in (("requests", "requests."), ("limits", "limits.")):
        for name, size in _of_containers(pod.get("spec") or {}, kind).items():
            found[prefix + name] = size
            if kind == "requests" and (name in _COMPUTE or name.startswith("hugepages-")):
                found[name] = size
    return found


def _of_containers(spec: Object, kind: str) -> Usage:
    """The sum of the containers, or the largest of the init containers where that is more."""
    total: Counter[str] = Counter()
    first: Usage = {}
    for container in spec.get("containers") or ():
        total.update(_asked(container, kind))
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            total.update(_asked(container, kind))
        for name, size in _asked(container, kind).items():
            first[name] = max(first.get(name, Fraction(0)), size)
    together: Usage = {name: Fraction(size) for name, size in total.items()}
    for name, size in first.items():
        together[name] = max(together.get(name, Fraction(0)), size)
    for name, size in (spec.get("overhead") or {}).items():
        together[name] = together.get(name, Fraction(0)) + amount(size)
    return together


def _asked(container: Object, kind: str) -> Usage:
    return {name: amount(size) for name, size in ((container.get("resources") or {}).get(kind) or {}).items()}


def amount(text: Any) -> Fraction:
    try:
        return value(text) if text is not None else Fraction(0)
    except QuantityError:
        return Fraction(0)


def written(size: Fraction, resource: str) -> str:
    """A sum as a quantity: bytes in powers of two where that is exact, else plain."""
    if size.denominator == 1:
        whole = size.numerator
        if ("memory" in resource or "storage" in resource) and whole and whole % 1024 == 0:
            return canonical(f"{whole // 1024}Ki")
        return str(whole)
    return canonical(f"{-(-size.numerator * 1000 // size.denominator)}m")


# ---- scopes


def counts(quota: Object, storage: str, object: Object) -> bool:
    """Whether the scopes of a quota take this object in."""
    spec = quota.get("spec") or {}
    terms = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not terms:
        return True
    return storage == "/pods" and all(_in_scope(term, object) for term in terms)


def _in_scope(term: Mapping[str, Any], pod: Object) -> bool:
    spec, name = pod.get("spec") or {}, term.get("scopeName")
    if name in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) is (name == "Terminating")
    if name in ("BestEffort", "NotBestEffort"):
        from kaos_ext.cluster.apiserver.strategies import quality

        return (quality(pod) == "BestEffort") is (name == "BestEffort")
    if name == "PriorityClass":
        found, values = spec.get("priorityClassName") or "", list(term.get("values") or ())
        holds: dict[str, bool] = {
            "In": found in values,
            "NotIn": found not in values,
            "Exists": bool(found),
            "DoesNotExist": not found,
        }
        return holds.get(term.get("operator", ""), False)
    return False


def unnamed(quota_hard: Iterable[str], pod: Object) -> dict[str, list[str]]:
    """Compute resources that a quota limits and containers do not speak of: resource → containers."""
    spec = pod.get("spec") or {}
    found: dict[str, list[str]] = {}
    for resource in sorted(quota_hard):
        kind, _, name = resource.rpartition(".")
        if (kind or "requests") not in ("requests", "limits") or name not in _COMPUTE[:2]:
            continue
        for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
            if name not in _asked(container, kind or "requests"):
                found.setdefault(resource, []).append(container.get("name", ""))
    return found
