"""Deleting: at once, or by a mark that finalizers, a namespace's content or a Pod's grace period hold on to."""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.admission import Admission
from kaos_ext.cluster.apiserver.faces import face
from kaos_ext.cluster.apiserver.metadata import copied, timestamp, with_metadata
from kaos_ext.cluster.apiserver.operations import gone
from kaos_ext.cluster.apiserver.options import DeleteOptions
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.storage import Decision, Keep, Put, Remove, Storage, Stored, encode
from kaos_ext.cluster.apiserver.webhooks.admission import Webhooks
from kaos_ext.cluster.apiserver.webhooks.matching import Write
from kaos_ext.kube.objects import Object
from kaos_ext.store import StoreError

ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
CRDS = "apiextensions.k8s.io/customresourcedefinitions"
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Holds a CRD that is being deleted until its objects are gone."""
_ORPHAN_BY_DEFAULT = frozenset({"batch/jobs", "/replicationcontrollers"})
_SHOWN = frozenset(
    {
        "/pods",
        "/serviceaccounts",
        "/services",
        "/persistentvolumes",
        "/persistentvolumeclaims",
        "/resourcequotas",
        "/podtemplates",
        "storage.k8s.io/storageclasses",
    }
)
"""Kinds whose deletion answers with the object even when it is gone at once."""


class Deletion:
    """Deletes of one server."""

    def __init__(self, storage: Storage, admission: Admission, webhooks: Webhooks) -> None:
        self._storage = storage
        self._admission = admission
        self._webhooks = webhooks

    async def delete(self, served: Served, namespace: str, name: str, options: DeleteOptions) -> Object:
        """The answer: the object while something holds it, else a Status."""
        self._admission.leave(served, name)
        place = namespace if served.namespaced else ""
        collection = self._storage.collection(served.storage)
        if self._webhooks.concern(served):
            await self._review(served, place, name, options)

        def decide(current: Stored | None) -> Decision:
            if current is None:
                raise failures.not_found(served, name)
            _check_preconditions(served, current, options)
            return _decision(served, current, options)

        if options.dry_run:
            await self._storage.settled(collection, place, name)
            current = collection.get(place, name)
            decision = decide(current)
            assert current is not None
            removed, stored = isinstance(decision, Remove), current
            if isinstance(decision, Put):
                stored = Stored(place, name, current.revision, encode(decision.object), decision.object)
        else:
            outcome: list[Decision] = []

            def noted(current: Stored | None) -> Decision:
                outcome[:] = [decide(current)]
                return outcome[0]

            try:
                stored = await self._storage.write(collection, place, name, noted)
            except StoreError as error:
                raise failures.not_stored(error) from error
            removed = isinstance(outcome[0], Remove)
        if removed and served.storage not in _SHOWN:
            return _success(served, name, stored.object["metadata"]["uid"])
        return face(stored, served).object

    async def _review(self, served: Served, place: str, name: str, options: DeleteOptions) -> None:
        collection = self._storage.collection(served.storage)
        await self._storage.settled(collection, place, name)
        current = collection.get(place, name)
        if current is None:
            return
        write = Write("DELETE", served, place, name, "", None, face(current, served).object, options.dry_run)
        await self._webhooks.mutate(write, options.user, [])
        await self._webhooks.validate(write, options.user, [])


def _check_preconditions(served: Served, current: Stored, options: DeleteOptions) -> None:
    uid = current.object["metadata"]["uid"]
    if options.uid is not None and options.uid != uid:
        raise failures.precondition_failed(
            served,
            current.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). The object might "
            "have been deleted and then recreated",
        )
    version = str(current.revision)
    if options.resource_version is not None and options.resource_version != version:
        raise failures.precondition_failed(
            served,
            current.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({version}). The object might have been modified",
        )


def _decision(served: Served, current: Stored, options: DeleteOptions) -> Decision:
    object = current.object
    meta = object["metadata"]
    if served.storage == "/namespaces":
        return _delete_namespace(current)
    finalizers = _finalizers(served, meta.get("finalizers") or [], options.propagation)
    grace = _grace(served, object, options)
    if served.storage == CRDS:
        if meta.get("deletionTimestamp"):
            return Keep(current)
        held = [*(one for one in finalizers if one != CRD_CLEANUP), CRD_CLEANUP]
        return Put(_terminating(with_metadata(object, deletionTimestamp=timestamp(), finalizers=held)))
    if not finalizers and not grace:
        marks = _marks(0) if served.storage == "/pods" else {}
        if marks and meta.get("generation") and not meta.get("deletionTimestamp"):
            marks["generation"] = meta["generation"] + 1
        return Remove(with_metadata(object, finalizers=None, **marks))
    if meta.get("deletionTimestamp"):
        left = meta.get("deletionGracePeriodSeconds") or 0
        if finalizers == (meta.get("finalizers") or []) and grace >= left:
            return Keep(current)
        grace = min(grace, left)
    else:
        generation = meta.get("generation")
        object = with_metadata(object, generation=generation + 1 if generation else None)
    return Put(with_metadata(object, finalizers=finalizers or None, **_marks(grace)))


def _terminating(crd: Object) -> Object:
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": timestamp(),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    status = crd.get("status") or {}
    others = [one for one in status.get("conditions") or () if one.get("type") != "Terminating"]
    return {**crd, "status": {**status, "conditions": [*others, condition]}}


def _marks(grace: int) -> dict[str, object]:
    return {"deletionTimestamp": timestamp(grace), "deletionGracePeriodSeconds": grace}


def _delete_namespace(current: Stored) -> Decision:
    object = copied(current.object)
    meta = object["metadata"]
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = timestamp()
        object["status"] = {**(object.get("status") or {}), "phase": "Terminating"}
    elif not gone(object):
        return Keep(current)
    return Remove(object) if gone(object) else Put(object)


def _finalizers(served: Served, present: list[str], propagation: str) -> list[str]:
    wanted = propagation
    if not wanted and served.storage in _ORPHAN_BY_DEFAULT and FOREGROUND not in present:
        wanted = "Orphan"
    if not wanted:
        return present
    kept = [one for one in present if one not in (ORPHAN, FOREGROUND)]
    if wanted == "Orphan":
        kept.append(ORPHAN)
    elif wanted == "Foreground":
        kept.append(FOREGROUND)
    return kept


def _grace(served: Served, object: Object, options: DeleteOptions) -> int:
    """Seconds a Pod may still run: none when it never ran or has ended."""
    if served.storage != "/pods":
        return 0
    spec, phase = object.get("spec") or {}, (object.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_seconds
    if asked is None:
        asked = spec.get("terminationGracePeriodSeconds", 30)
    return max(int(asked), 0)


def _success(served: Served, name: str, uid: str) -> Object:
    details: Object = {"name": name}
    if served.group:
        details["group"] = served.group
    details["kind"] = served.plural
    details["uid"] = uid
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
