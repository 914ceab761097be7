"""Admission: what the server adds to or refuses about a write because of other objects (not because of its own fields).

Nothing new enters a namespace that is missing or going; some namespaces stay; nobody grants more than they hold.
"""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.authz import escalation
from kaos_ext.cluster.apiserver.authz.attributes import Attributes
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.authz.words import forbidden
from kaos_ext.cluster.apiserver.certificates import requests
from kaos_ext.cluster.apiserver.completion import Completion
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import Object

DEFAULT_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_KEPT_ONLY = {
    "/limitranges": "limit ranges",
    "admissionregistration.k8s.io/validatingadmissionpolicies": "admission policies",
    "admissionregistration.k8s.io/validatingadmissionpolicybindings": "admission policies",
    "admissionregistration.k8s.io/mutatingadmissionpolicies": "admission policies",
    "admissionregistration.k8s.io/mutatingadmissionpolicybindings": "admission policies",
    "networking.k8s.io/networkpolicies": "network policies",
}
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class Admission:
    """Reads other objects of the same storage."""

    def __init__(self, storage: Storage, rbac: Rbac) -> None:
        self._storage = storage
        self._rbac = rbac
        self._completion = Completion(storage)
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
        """Does this write of a role, a binding or a certificate request give more than its writer may give?"""
        escalation.check(self._rbac, served, user, new, old)
        requests.guard(self._rbac, served, user, new, old)

    def advice(self, served: Served) -> list[str]:
        """What the creator of something should know."""
        words = _KEPT_ONLY.get(served.storage)
        return [f"{words} are kept by this cluster, but not enforced"] if words else []

    def leave(self, served: Served, name: str) -> None:
        """May this be deleted?"""
        if served.storage == "/namespaces" and name in IMMORTAL:
            raise failures.forbidden(served, name, "this namespace may not be deleted")

    def complete(self, served: Served, object: Object) -> None:
        """Fill in, on creation, what depends on other objects."""
        self._completion.complete(served, object)
