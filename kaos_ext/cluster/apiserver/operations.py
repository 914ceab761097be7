"""Writing: create, update and delete, each decided in one step against the committed object.

A request's body passes, in this order: shape (unknown fields, defaults), field managers, admission, the kind's own
preparation, validation (shape, managers and validation are `intake`), allocation; then the storage commits it. Nothing
awaits between reading the old object and handing the new one to the commit.
"""

from __future__ import annotations

from collections.abc import Callable

from kaos_ext.cluster.apiserver import failures, metadata, strategies
from kaos_ext.cluster.apiserver.admission import Admission
from kaos_ext.cluster.apiserver.allocation import ServiceAddresses, moved
from kaos_ext.cluster.apiserver.conversion import STORED
from kaos_ext.cluster.apiserver.faces import face, written_by
from kaos_ext.cluster.apiserver.intake import check_body, refuse, shaped, track
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.quota.enforcement import Quotas
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import invalid
from kaos_ext.cluster.apiserver.storage import Decision, Keep, Put, Remove, Storage, Stored, encode
from kaos_ext.cluster.apiserver.webhooks.admission import Webhooks
from kaos_ext.cluster.apiserver.webhooks.matching import Write
from kaos_ext.kube.objects import ApiError, Object
from kaos_ext.store import StoreError

_ATTEMPTS = 5
_REVIEWED = frozenset({"", "status", "ephemeralcontainers"})
"""Paths whose writes webhooks are asked about."""
_CREATED_BY_PUT = frozenset(
    {"endpoints", "events", "leases", "roles", "rolebindings", "clusterroles", "clusterrolebindings"}
)
_UNCONDITIONAL = frozenset({"customresourcedefinitions", "leases"})
"""Built-in kinds whose PUT must name a resourceVersion, as custom resources must."""

Make = Callable[[Object], Object]
"""From the present object (read only) to the wanted one (the caller's own)."""


class Operations:
    """Writes of one server."""

    def __init__(
        self, storage: Storage, admission: Admission, addresses: ServiceAddresses, webhooks: Webhooks, quotas: Quotas
    ) -> None:
        self._storage = storage
        self._admission = admission
        self._webhooks = webhooks
        self._quotas = quotas
        self._addresses = addresses

    async def create(
        self, served: Served, namespace: str, object: Object, options: WriteOptions, *, applied: bool = False
    ) -> Stored:
        """Create; with `applied` the object comes from server-side apply and has its field managers."""
        check_body(served, object, namespace, "", options)
        meta = object["metadata"]
        if meta.get("resourceVersion"):
            raise failures.internal("resourceVersion should not be set on objects to be created")
        generated = not meta.get("name") and bool(meta.get("generateName"))
        if generated:
            meta["name"] = metadata.generated_name(meta["generateName"])
        await self._admission.enter(served, namespace, meta.get("name") or "")
        for _ in range(8):
            try:
                return await self._create(served, namespace, object, options, applied)
            except ApiError as error:
                if not generated or error.reason != "AlreadyExists":
                    raise
                meta["name"] = metadata.generated_name(meta["generateName"])
        raise failures.already_exists(served, meta["name"])

    async def _create(
        self, served: Served, namespace: str, object: Object, options: WriteOptions, applied: bool
    ) -> Stored:
        metadata.on_create(object, namespace if served.namespaced else "")
        strategies.name_of_namespace_label(served, object)
        object = shaped(served, object, options)
        strategies.fold(served, object)
        if not applied:
            track(served, None, object, options, "")
        name = object["metadata"].get("name") or ""
        self._admission.complete(served, object)
        options.warnings += self._admission.advice(served)
        strategies.before_create(served, object)
        asked = self._webhooks.concern(served)
        if asked:
            write = Write(
                "CREATE", served, object["metadata"].get("namespace", ""), name, "", object, None, options.dry_run
            )
            object = await self._mutated(write, options)
        self._admission.grant(served, object, None, options.user)
        refuse(served, object, None, "")
        if asked:
            await self._webhooks.validate(write.with_new(object), options.user, options.warnings)
        owner = (object["metadata"].get("namespace", ""), name)

        def decide(current: Stored | None) -> Decision:
            if current is not None:
                deleting = bool(current.object["metadata"].get("deletionTimestamp"))
                raise failures.already_exists(served, name, deleting=deleting)
            self._quotas.check(served, owner[0], name, object, None)
            if served.storage == "/services":
                complaints = self._addresses.assign(object, owner, keep=options.dry_run)
                if complaints:
                    raise failures.invalid("", served.kind, name, complaints)
            return Put(_stored_form(served, object))

        async with self._quotas.turn(owner[0]):
            return await self._commit(served, owner, decide, options)

    async def update(
        self,
        served: Served,
        namespace: str,
        name: str,
        make: Make,
        options: WriteOptions,
        *,
        subresource: str = "",
        managed: bool = False,
        absent: Callable[[], Object] | None = None,
        replace: bool = False,
    ) -> tuple[Stored, bool]:
        """Change one object, and whether it was created: `absent` makes one where there is none.

        With `managed` the maker has seen to the field managers; `replace` says that a whole object is given.
        """
        place = namespace if served.namespaced else ""
        collection = self._storage.collection(served.storage)
        await self._storage.settled(collection, place, name)
        if collection.get(place, name) is None:
            if absent is None and not (replace and served.plural in _CREATED_BY_PUT and not served.custom):
                raise failures.not_found(served, name)
            self._admission.permit(served, namespace, name, options.user)
            object = absent() if absent is not None else make({})
            return await self.create(served, namespace, object, options, applied=managed), True

        def decide(current: Stored | None) -> Decision:
            if current is None:
                raise failures.not_found(served, name)
            old = face(current, served).object
            new = self._wanted(served, current, old, make(old), options, subresource, managed, replace)
            return self._settled(served, current, old, new, options, subresource)

        if subresource in _REVIEWED and self._webhooks.concern(served):
            stored = await self._update_reviewed(served, place, name, make, options, subresource, managed, replace)
            return stored, False
        return await self._commit(served, (place, name), decide, options), False

    async def _update_reviewed(
        self,
        served: Served,
        place: str,
        name: str,
        make: Make,
        options: WriteOptions,
        subresource: str,
        managed: bool,
        replace: bool,
    ) -> Stored:
        """An update that webhooks are asked about: made anew when the object changes while they are."""
        collection = self._storage.collection(served.storage)
        for _ in range(_ATTEMPTS):
            await self._storage.settled(collection, place, name)
            seen = collection.get(place, name)
            if seen is None:
                raise failures.not_found(served, name)
            old = face(seen, served).object
            new = self._wanted(served, seen, old, make(old), options, subresource, managed, replace)
            write = Write("UPDATE", served, place, name, subresource, new, old, options.dry_run)
            new = await self._mutated(write, options)
            refuse(served, new, old, subresource)
            await self._webhooks.validate(write.with_new(new), options.user, options.warnings)
            if collection.get(place, name) is not seen:
                continue

            def decide(current: Stored | None, seen: Stored = seen, old: Object = old, new: Object = new) -> Decision:
                if current is not seen:
                    raise failures.conflict(served, name)
                return self._settled(served, seen, old, new, options, subresource)

            try:
                return await self._commit(served, (place, name), decide, options)
            except ApiError as error:
                if error.reason != "Conflict" or collection.get(place, name) is seen:
                    raise
        raise failures.conflict(served, name)

    async def _mutated(self, write: Write, options: WriteOptions) -> Object:
        """The object of a write as mutating webhooks want it."""
        changed = await self._webhooks.mutate(write, options.user, options.warnings)
        assert changed.new is not None
        if changed.new is write.new:
            return changed.new
        served = write.served
        check_body(served, changed.new, write.namespace, write.name, options)
        made = shaped(served, changed.new, options, quiet=True)
        strategies.fold(served, made)
        return made

    def _wanted(
        self,
        served: Served,
        current: Stored,
        old: Object,
        new: Object,
        options: WriteOptions,
        subresource: str,
        managed: bool,
        replace: bool,
    ) -> Object:
        """The whole object that a change asks for, with its field managers."""
        was = old["metadata"]
        check_body(served, new, current.namespace, was["name"], options)
        meta = new["metadata"]
        version = meta.get("resourceVersion")
        if version and not version.isdecimal():
            raise failures.internal(f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if version == "0":
            version = ""
        if replace and not version and (served.custom or served.plural in _UNCONDITIONAL):
            why = [invalid("metadata.resourceVersion", 0, "must be specified for an update")]
            raise failures.invalid(served.group, served.plural, was["name"], why)
        if version and version != was["resourceVersion"]:
            raise failures.conflict(served, was["name"])
        if meta.get("uid") and meta["uid"] != was["uid"] and replace:
            raise failures.conflict(
                served,
                was["name"],
                f"StorageError: invalid object, Code: 4, Key: {_etcd_key(served, current)}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
                f"{was['uid']}",
            )
        uid = meta.get("uid", was["uid"])
        cleared = meta.get("managedFields") == []
        metadata.on_update(new, old)
        meta["uid"] = uid or was["uid"]
        if not meta.get("namespace") and was.get("namespace"):
            meta["namespace"] = was["namespace"]
        strategies.name_of_namespace_label(served, new)
        new = shaped(served, new, options, quiet=not replace)
        strategies.fold(served, new)
        if cleared:  # Go would not write an empty list, but it has one
            new["metadata"]["managedFields"] = []
        new = strategies.before_update(served, new, old, subresource)
        if not managed:
            track(served, old, new, options, subresource)
        return new

    def _settled(
        self, served: Served, current: Stored, old: Object, new: Object, options: WriteOptions, subresource: str
    ) -> Decision:
        """What becomes of it, if it is valid."""
        was = old["metadata"]
        if subresource != "binding" and strategies.asks_for_more(served, new, old, subresource):
            new["metadata"]["generation"] = int(was.get("generation") or 0) + 1
        self._admission.grant(served, new, old, options.user)
        refuse(served, new, old, subresource)
        if not subresource:
            self._quotas.check(served, current.namespace, was["name"], new, old)
        if served.storage == "/services" and not subresource:
            owner = (current.namespace, current.name)
            complaints = moved(new, old) or self._addresses.assign(new, owner, keep=options.dry_run)
            if complaints:
                raise failures.invalid("", served.kind, was["name"], complaints)
        new["metadata"]["resourceVersion"] = was["resourceVersion"]
        if metadata.same_but_times(new, old):
            return Keep(current)
        stored_form = _stored_form(served, new)
        if gone(stored_form):
            return Remove(stored_form)
        return Put(stored_form)

    async def _commit(
        self, served: Served, place: tuple[str, str], decide: Callable[[Stored | None], Decision], options: WriteOptions
    ) -> Stored:
        collection = self._storage.collection(served.storage)
        if options.dry_run:
            return face(_pretended(decide(collection.get(*place)), *place), served)
        attempted: list[Object] = []

        def noted(current: Stored | None) -> Decision:
            decision = decide(current)
            if isinstance(decision, Put):
                attempted.append(decision.object)
            return decision

        try:
            stored = await self._storage.write(collection, *place, noted)
        except StoreError as error:
            if served.storage == "/services" and attempted:
                live = collection.get(*place)
                self._addresses.release(attempted[0], place, live.object if live else None)
            raise failures.not_stored(error) from error
        if served.definition is not None:
            written_by(stored, served)
        return face(stored, served)


def _etcd_key(served: Served, stored: Stored) -> str:
    """Where a real server has it; some of its messages say so."""
    place = f"{served.group}/{served.plural}" if served.custom else served.plural
    return "/".join(part for part in ("/registry", place, stored.namespace, stored.name) if part)


def gone(object: Object) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    meta = object["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (object["kind"] == "Namespace" and (object.get("spec") or {}).get("finalizers"))


def _stored_form(served: Served, object: Object) -> Object:
    """As it is written down: in the storage version, `kind` and `apiVersion` first."""
    if served.definition is not None:
        version = served.definition.storage_version
        if version != served.version:
            object = metadata.copied(object)
            served.definition.store(object)
        return metadata.ordered(object, served.kind, f"{served.group}/{version}")
    if convert := STORED.get((served.api_version, served.kind)):
        converted = convert(object)
        return metadata.ordered(converted, served.kind, converted["apiVersion"])
    return metadata.ordered(object, served.kind, served.api_version)


def _pretended(decision: Decision, namespace: str, name: str) -> Stored:
    """What a dry run shows: the decision's object, nowhere kept."""
    if isinstance(decision, Keep):
        return decision.stored
    object = copied(decision.object)
    return Stored(namespace, name, 0, encode(object), object)
