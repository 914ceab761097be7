"""How a Deployment moves from one pod template to the next. Pure: objects and numbers in, one step out.

    plan(deployment, replicasets, now) -> Step     what to create, scale, relabel or delete now, and the status

Each step is safe by itself: never more than replicas + maxSurge pods asked for, never fewer than replicas -
maxUnavailable available ones given up by us. What follows is decided when the ReplicaSets have changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from kaos_ext.cluster.controllers.replicaset import owner_reference
from kaos_ext.kube.objects import Object

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM}
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: names stay free of words


@dataclass(frozen=True, slots=True)
class Scale:
    """Set a ReplicaSet's size; `annotations` are merged, and minReadySeconds set, in the same write."""

    replicaset: Object
    replicas: int
    annotations: Mapping[str, str]
    min_ready_seconds: int | None = None
    """None: as it is."""


@dataclass(frozen=True, slots=True)
class Step:
    create: Object | None = None
    scale: tuple[Scale, ...] = ()
    delete: tuple[Object, ...] = ()
    revision: str = ""
    """To be written on the Deployment when it differs."""


def replicas_of(object: Object) -> int:
    value = object["spec"].get("replicas")
    return 1 if value is None else int(value)


def status_count(object: Object, field: str) -> int:
    return int((object.get("status") or {}).get(field) or 0)


def limits(deployment: Object) -> tuple[int, int]:
    """maxSurge and maxUnavailable as numbers of pods."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling, replicas = strategy.get("rollingUpdate") or {}, replicas_of(deployment)
    surge = _share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def _share(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = int(value.rstrip("%")) * total / 100
    return ceil(exact) if up else floor(exact)


def template_hash(template: Object, collisions: int = 0) -> str:
    """Ten letters and digits that name a pod template."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":")) + f"/{collisions}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[index])
    return "".join(letters)


def same_template(left: Object, right: Object) -> bool:
    return _without_hash(left) == _without_hash(right)


def _without_hash(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != HASH_LABEL}
    metadata.pop("creationTimestamp", None)
    return {"labels": labels, "metadata": {k: v for k, v in metadata.items() if v}, "spec": template.get("spec")}


def current_set(deployment: Object, replicasets: Sequence[Object]) -> Object | None:
    """The ReplicaSet of the Deployment's template: the oldest one, should there be two."""
    same = [rs for rs in replicasets if same_template(rs["spec"]["template"], deployment["spec"]["template"])]
    return min(same, key=_age) if same else None


def _age(object: Object) -> tuple[str, str]:
    return object["metadata"].get("creationTimestamp") or "", object["metadata"]["name"]


def revision_of(object: Object) -> int:
    text = (object["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def plan(deployment: Object, replicasets: Sequence[Object], pods_of_old: int) -> Step:
    """The next step; `pods_of_old`: pods of older ReplicaSets that still exist, terminating ones included."""
    new = current_set(deployment, replicasets)
    old = [rs for rs in replicasets if rs is not new]
    paused = bool(deployment["spec"].get("paused"))
    newest_old = max((revision_of(rs) for rs in old), default=0)
    if new is None:
        if paused:
            return Step(scale=tuple(_resize(deployment, None, old)), delete=_surplus(deployment, old))
        revision = str(newest_old + 1)
        created = new_replicaset(deployment, replicasets, revision, _first_size(deployment, old, pods_of_old))
        return Step(create=created, scale=tuple(_stop_old(deployment, old)), revision=revision)
    revision = str(max(revision_of(new), newest_old + 1 if newest_old >= revision_of(new) else 0))
    scales: dict[str, Scale] = {}

    def put(scale: Scale) -> None:
        scales[scale.replicaset["metadata"]["uid"]] = scale

    if paused or _was_resized(deployment, replicasets):
        for scale in _resize(deployment, new, old):
            put(scale)
    elif (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        for scale in _stop_old(deployment, old):
            put(scale)
        if not pods_of_old and not any(replicas_of(rs) for rs in old):
            put(_scale(deployment, new, replicas_of(deployment)))
    else:
        for scale in _roll(deployment, new, old):
            put(scale)
    if not paused:
        target = scales.get(new["metadata"]["uid"]) or _scale(deployment, new, replicas_of(new))
        history = _history(new, revision)
        annotations = {**_inherited(deployment), **target.annotations, **history, REVISION: revision}
        put(Scale(new, target.replicas, annotations, deployment["spec"].get("minReadySeconds", 0)))
    changed = tuple(scale for scale in scales.values() if _changes(scale))
    return Step(
        scale=changed,
        delete=() if paused else _surplus(deployment, old),
        revision=revision if not paused else str(revision_of(new)),
    )


def new_replicaset(deployment: Object, replicasets: Sequence[Object], revision: str, size: int) -> Object:
    """The ReplicaSet of the Deployment's template, under a name that no existing one has."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    collisions = status_count(deployment, "collisionCount")
    taken = {rs["metadata"]["name"] for rs in replicasets}
    while (name := f"{metadata['name']}-{template_hash(spec['template'], collisions)}") in taken:
        collisions += 1
    digest = name.rsplit("-", 1)[1]
    template = copy.deepcopy(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = digest
    selector = copy.deepcopy(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
    replicaset_spec = {"replicas": size, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        replicaset_spec["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "annotations": {**_inherited(deployment), **_sizes(deployment), REVISION: revision},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": replicaset_spec,
    }


def _first_size(deployment: Object, old: Sequence[Object], pods_of_old: int) -> int:
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return 0 if pods_of_old or any(replicas_of(rs) for rs in old) else replicas_of(deployment)
    surge, _ = limits(deployment)
    room = replicas_of(deployment) + surge - sum(map(replicas_of, old))
    return max(0, min(room, replicas_of(deployment)))


def _stop_old(deployment: Object, old: Sequence[Object]) -> list[Scale]:
    if (deployment["spec"].get("strategy") or {}).get("type") != "Recreate":
        return []
    return [_scale(deployment, rs, 0) for rs in old if replicas_of(rs)]


def _roll(deployment: Object, new: Object, old: Sequence[Object]) -> list[Scale]:
    """Grow the new set into the room there is; else give up what the old sets may lose."""
    surge, unavailable = limits(deployment)
    wanted, size = replicas_of(deployment), replicas_of(new)
    total = size + sum(map(replicas_of, old))
    if size > wanted:
        return [_scale(deployment, new, wanted)]
    scales: list[Scale] = []
    if size < wanted and total < wanted + surge:
        scales.append(_scale(deployment, new, min(wanted, size + wanted + surge - total)))
    # What the new set has been asked for but does not have available yet must not be given up elsewhere as well.
    spare = total - (wanted - unavailable) - (size - status_count(new, "availableReplicas"))
    sizes = {rs["metadata"]["uid"]: replicas_of(rs) for rs in old}
    for rs in sorted(old, key=_age):  # pods that are not available cost nothing
        useless = min(replicas_of(rs) - status_count(rs, "availableReplicas"), spare)
        if useless > 0:
            sizes[rs["metadata"]["uid"]] -= useless
            spare -= useless
    available = status_count(new, "availableReplicas") + sum(status_count(rs, "availableReplicas") for rs in old)
    spare = min(spare, available - (wanted - unavailable))
    for rs in sorted(old, key=_age):
        given = min(sizes[rs["metadata"]["uid"]], spare)
        if given > 0:
            sizes[rs["metadata"]["uid"]] -= given
            spare -= given
    scales += [
        _scale(deployment, rs, sizes[rs["metadata"]["uid"]])
        for rs in old
        if sizes[rs["metadata"]["uid"]] != replicas_of(rs)
    ]
    return scales


def _was_resized(deployment: Object, replicasets: Sequence[Object]) -> bool:
    """Whether `spec.replicas` changed since the sets that have pods were last sized."""
    for rs in replicasets:
        noted = (rs["metadata"].get("annotations") or {}).get(DESIRED)
        if replicas_of(rs) and noted is not None and noted != str(replicas_of(deployment)):
            return True
    return False


def _resize(deployment: Object, new: Object | None, old: Sequence[Object]) -> list[Scale]:
    """Follow a change of `spec.replicas` without moving the rollout: in proportion when several sets have pods."""
    active = [rs for rs in ([new] if new else []) + sorted(old, key=_age, reverse=True) if replicas_of(rs)]
    wanted = replicas_of(deployment)
    if len(active) <= 1:
        only = active[0] if active else new or (max(old, key=revision_of) if old else None)
        return [_scale(deployment, only, wanted)] if only is not None else []
    if new is not None and replicas_of(new) == wanted == status_count(new, "availableReplicas"):
        return [_scale(deployment, rs, 0) for rs in old if replicas_of(rs)]
    surge, _ = limits(deployment)
    total = sum(map(replicas_of, active))
    allowed = wanted + surge if wanted else 0
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        allowed = wanted
    change = allowed - total
    sizes: list[int] = []
    ordered = sorted(active, key=replicas_of, reverse=True)
    left = change
    for rs in ordered:
        part = round(replicas_of(rs) * change / total) if total else 0
        part = max(min(part, left), 0) if change > 0 else min(max(part, left), 0)
        left -= part
        sizes.append(replicas_of(rs) + part)
    sizes[0] = max(0, sizes[0] + left)  # what rounding left over goes to the largest
    return [_scale(deployment, rs, size) for rs, size in zip(ordered, sizes, strict=True)]


def _scale(deployment: Object, replicaset: Object, size: int) -> Scale:
    return Scale(replicaset, size, _sizes(deployment))


def _sizes(deployment: Object) -> dict[str, str]:
    surge, _ = limits(deployment)
    return {DESIRED: str(replicas_of(deployment)), MAXIMUM: str(replicas_of(deployment) + surge)}


def _inherited(deployment: Object) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in _NOT_COPIED}


def _history(replicaset: Object, revision: str) -> dict[str, str]:
    """A set that comes back by a rollback keeps the revisions it had."""
    before = revision_of(replicaset)
    if not before or str(before) == revision:
        return {}
    annotations = replicaset["metadata"].get("annotations") or {}
    earlier = [number for number in annotations.get(REVISION_HISTORY, "").split(",") if number]
    return {REVISION_HISTORY: ",".join([*earlier, str(before)])}


def _changes(scale: Scale) -> bool:
    annotations = scale.replicaset["metadata"].get("annotations") or {}
    patience = scale.replicaset["spec"].get("minReadySeconds", 0)
    if scale.min_ready_seconds not in (None, patience):
        return True
    return replicas_of(scale.replicaset) != scale.replicas or any(
        annotations.get(key) != value for key, value in scale.annotations.items()
    )


def _surplus(deployment: Object, old: Sequence[Object]) -> tuple[Object, ...]:
    """Old sets beyond `revisionHistoryLimit` that have nothing left."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    done = [
        rs
        for rs in old
        if not replicas_of(rs)
        and not status_count(rs, "replicas")
        and status_count(rs, "observedGeneration") >= rs["metadata"].get("generation", 0)
        and not rs["metadata"].get("deletionTimestamp")
    ]
    excess = len(old) - limit
    return tuple(sorted(done, key=lambda rs: (revision_of(rs), _age(rs)))[:excess]) if excess > 0 else ()
