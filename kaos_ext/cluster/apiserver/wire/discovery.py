"""Discovery documents, legacy and aggregated, from one listing.

The listing is a list of aggregated items, one per group, as `APIGroupDiscoveryList.items` has them (`metadata.name`,
`versions[].resources[]`). The built-in one is a table; `crd_resource` makes the entry of one version of a CRD.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from kaos_ext.cluster.apiserver.data import table

Item = dict[str, Any]

CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def builtin_items() -> list[Item]:
    """The built-in groups, the core group first with the empty name; shared: leave it as it is."""
    tables = table("discovery.json.gz")
    core = {"metadata": {"name": ""}, "versions": tables["api"]["items"][0]["versions"]}
    return [core, *tables["apis"]["items"]]


def crd_resource(crd: dict[str, Any], version: dict[str, Any]) -> Item:
    """One `APIResourceDiscovery` of a CRD's version."""
    spec = crd["spec"]
    names = {**spec["names"], **{k: v for k, v in (crd.get("status") or {}).get("acceptedNames", {}).items() if v}}
    kind = {"group": spec["group"], "version": version["name"], "kind": names["kind"]}
    item: Item = {
        "resource": names["plural"],
        "responseKind": kind,
        "scope": "Namespaced" if spec["scope"] == "Namespaced" else "Cluster",
        "singularResource": names.get("singular") or names["kind"].lower(),
        "verbs": list(CUSTOM_VERBS),
    }
    for key in ("shortNames", "categories"):
        if names.get(key):
            item[key] = names[key]
    subresources = []
    declared = version.get("subresources") or {}
    if declared.get("status") is not None:
        subresources.append({"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]})
    if declared.get("scale") is not None:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        subresources.append({"subresource": "scale", "responseKind": scale, "verbs": ["get", "patch", "update"]})
    if subresources:
        item["subresources"] = subresources
    return item


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sort key of Kubernetes versions, best first: v2, v1, v1beta2, v1alpha1, others by name."""
    major, _, rest = version[1:].partition("beta") if "beta" in version else version[1:].partition("alpha")
    stage = 1 if "beta" in version else 2 if "alpha" in version else 0
    if version[:1] != "v" or not major.isdigit() or (stage and not rest.isdigit()):
        return (3, 0, 0, version)
    return (stage, -int(major), -int(rest or 0), "")


def aggregated(items: Sequence[Item], version: str = "v2") -> dict[str, Any]:
    """`APIGroupDiscoveryList`; pass the core item alone for `/api`, the others for `/apis`."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [
            {
                **item,
                "metadata": {"name": item["metadata"]["name"]} if item["metadata"].get("name") else {},
                "versions": [{**entry, "freshness": "Current"} for entry in item["versions"]],
            }
            for item in items
        ],
    }


def api_versions(server_address: str) -> dict[str, Any]:
    """The legacy answer of `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def _group_body(item: Item) -> dict[str, Any]:
    group = item["metadata"]["name"]
    versions = [{"groupVersion": f"{group}/{v['version']}", "version": v["version"]} for v in item["versions"]]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def group(item: Item) -> dict[str, Any]:
    """The legacy answer of `/apis/<group>`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group_body(item)}


def group_list(items: Sequence[Item]) -> dict[str, Any]:
    """The legacy answer of `/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group_body(item) for item in items]}


def resource_list(group: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The legacy answer of `/api/v1` and `/apis/<group>/<version>`; `entry` is one of an item's versions."""
    version = entry["version"]
    resources: list[dict[str, Any]] = []
    for listed in entry["resources"]:
        kind = listed["responseKind"]["kind"]
        resource = {
            "name": listed["resource"],
            "singularName": listed["singularResource"],
            "namespaced": listed["scope"] == "Namespaced",
            "kind": kind,
            "verbs": listed["verbs"],
        }
        if listed["responseKind"].get("group") and listed["responseKind"]["group"] != group:
            resource |= {k: listed["responseKind"][k] for k in ("group", "version")}
        resource |= {key: listed[key] for key in ("shortNames", "categories") if listed.get(key)}
        if "list" in listed["verbs"] and "watch" in listed["verbs"]:
            resource["storageVersionHash"] = storage_version_hash(group, version, kind)
        resources.append(resource)
        resources += [_subresource(group, listed, sub) for sub in listed.get("subresources") or []]
    head = {"kind": "APIResourceList", "groupVersion": f"{group}/{version}" if group else version}
    return {**head, **({"apiVersion": "v1"} if group else {}), "resources": resources}


def _subresource(group: str, listed: Item, sub: Item) -> dict[str, Any]:
    of = sub["responseKind"]
    resource: dict[str, Any] = {
        "name": f"{listed['resource']}/{sub['subresource']}",
        "singularName": "",
        "namespaced": listed["scope"] == "Namespaced",
        "kind": of["kind"],
        "verbs": sub["verbs"],
    }
    if of.get("group") and of["group"] != group:
        resource |= {"group": of["group"], "version": of["version"]}
    return resource


def storage_version_hash(group: str, version: str, kind: str) -> str:
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()
