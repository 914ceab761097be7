"""Admission: what the server adds to or refuses about a write because of other objects (not because of its own fields).

Nothing new enters a namespace that is missing or going; some namespaces stay for ever; Pods get the priority,
tolerations and service account they do not name; claims get the default storage class.
"""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz import escalation
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.authz.words import forbidden
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import Object

DEFAULT_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PATIENCE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_CLASSES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


class Admission:
    """Reads other objects of the same storage."""

    def __init__(self, storage: Storage, rbac: Rbac) -> None:
        self._storage = storage
        self._rbac = rbac
        self._namespaces = storage.collection("/namespaces")

    async def enter(self, served: Served, namespace: str, name: str) -> None:
        """May something be created here? Waits for a change of the namespace itself that is on its way."""
        if not served.namespaced or not namespace:
            return
        await self._storage.settled(self._namespaces, "", namespace)
        found = self._namespaces.get("", namespace)
        if found is None:
            raise failures.failure(
                404, "NotFound", f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"}
            )
        if found.object["metadata"].get("deletionTimestamp"):
            raise failures.forbidden(
                served,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
                causes=[
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )

    def permit(self, served: Served, namespace: str, name: str, user: UserInfo) -> None:
        """May this user create the object that their update or patch did not find?"""
        wanted = Attributes("create", served.group, served.plural, "", namespace, name, served.version)
        decision = self._rbac.decide(user, wanted)
        if not decision.allowed:
            raise forbidden(user, wanted, decision.reason)

    def grant(self, served: Served, new: Object, old: Object | None, user: UserInfo) -> None:
        """Does this write of a role or binding give more than its writer holds?"""
        escalation.check(self._rbac, served, user, new, old)

    def leave(self, served: Served, name: str) -> None:
        """May this be deleted?"""
        if served.storage == "/namespaces" and name in IMMORTAL:
            raise failures.forbidden(served, name, "this namespace may not be deleted")

    def complete(self, served: Served, object: Object) -> None:
        """Fill in, on creation, what depends on other objects."""
        if served.storage == "/pods":
            self._complete_pod(object.get("spec") or {})
        elif served.storage == "/persistentvolumeclaims":
            self._complete_claim(object)

    def _complete_pod(self, spec: Object) -> None:
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = account
        tolerations = spec.setdefault("tolerations", [])
        for key in _PATIENCE:
            if not any(
                one.get("key") in (key, None, "") and one.get("effect") in ("NoExecute", None, "")
                for one in tolerations
            ):
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
        if "priority" not in spec:
            value, policy = self._priority(spec.get("priorityClassName") or "")
            spec["priority"] = value
            spec.setdefault("preemptionPolicy", policy)

    def _priority(self, name: str) -> tuple[int, str]:
        if name in _CLASSES:
            return _CLASSES[name], "PreemptLowerPriority"
        for stored in self._storage.collection("scheduling.k8s.io/priorityclasses").scan():
            one = stored.object
            if one["metadata"]["name"] == name or (not name and one.get("globalDefault")):
                return one.get("value", 0), one.get("preemptionPolicy") or "PreemptLowerPriority"
        return 0, "PreemptLowerPriority"

    def _complete_claim(self, claim: Object) -> None:
        spec = claim.get("spec") or {}
        if "storageClassName" in spec:
            return
        for stored in self._storage.collection("storage.k8s.io/storageclasses").scan():
            if (stored.object["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true":
                spec["storageClassName"] = stored.name
                return
