"""One resource at a time: render, apply what differs, prune, tell the status. Everything it needs it sees in `World`.

    touch(key) ──▶ one worker per key, changes of a moment merged ──▶ reconcile(key)
                                                     failure ──▶ again later, slower each time

There is no finalizer: children go with their owner by owner references, so an operator that is away never blocks a
delete. It holds no state: after a restart the same objects render the same and nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from kaos_ext.kube.objects import EVENTS, ApiError, Object, PatchType, Resource, is_not_found
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError
from kaos_ext.model.names import Kind
from kaos_operator.api import Api
from kaos_operator.children import Children
from kaos_operator.quota import Quota
from kaos_operator.render import Rendered, render
from kaos_operator.render.context import failed
from kaos_operator.render.dependencies import references as agent_references
from kaos_operator.render.pod_state import trouble
from kaos_operator.render.pods import references
from kaos_operator.render.status import desired_status, own_conditions, rolled_out, status_differs, transitions
from kaos_operator.tools import ToolsError, list_tools
from kaos_operator.world import Key, World

log = logging.getLogger(__name__)

RESOURCES = {kind: Resource(names.GROUP, names.VERSION, kind.plural, kind.value) for kind in Kind}
FIRST_RETRY, LONGEST_RETRY = 0.2, 30.0
TOOL_ATTEMPTS = 5


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Reconciler:
    """Brings the cluster to what the resources say."""

    def __init__(self, api: Api, world: World, *, now: Callable[[], str] = _now) -> None:
        self._api, self._world, self._now = api, world, now
        self._dirty: dict[Key, asyncio.Event] = {}
        self._workers: dict[Key, asyncio.Task[None]] = {}
        self._children = Children(api, world)
        self._reads: dict[Key, set[tuple[str, str]]] = {}
        self._tools: dict[Key, tuple[str, list[str] | None]] = {}
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._told: dict[Key, dict[str, str]] = {}
        """Conditions that agents report of themselves, as they were last seen."""
        self._quota = Quota(time.monotonic)

    # -- what happened -------------------------------------------------------------------------------------------------

    def resource_changed(self, key: Key) -> None:
        """A resource of ours changed, appeared or went: itself, and the Agents that refer to it."""
        self.touch(key)
        for other in self._world.keys(Kind.AGENT, key.namespace):
            agent = self._world.resource(other)
            if agent is not None and (key.kind, key.name) in agent_references(agent):
                self.touch(other)

    def child_deleted(self, child: Object) -> None:
        """A child went: it is to be applied again."""
        self._children.deleted(child)

    def content_changed(self, kind: str, namespace: str, name: str) -> None:
        """A ConfigMap or Secret changed: who reads it."""
        for key, reads in list(self._reads.items()):
            if key.namespace == namespace and (kind, name) in reads:
                self.touch(key)

    def kind_changed(self, kind: Kind | None = None) -> None:
        """Something all resources of a kind depend on changed."""
        for key in self._world.keys(kind):
            self.touch(key)

    def touch(self, key: Key) -> None:
        """Look at a resource soon; one that waits to be tried again is looked at now."""
        if key in self._workers:
            self._dirty[key].set()
        else:
            self._dirty[key] = asyncio.Event()
            self._dirty[key].set()
            self._workers[key] = asyncio.create_task(self._work(key), name=f"reconcile {key}")

    async def idle(self) -> None:
        """Until nothing is left to do."""
        while self._workers or self._asking:
            await asyncio.wait([*self._workers.values(), *self._asking.values()])
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Drop whatever is under way: nothing is lost, the next start sees the same."""
        tasks = [*self._workers.values(), *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is done --------------------------------------------------------------------------------------------------

    async def _work(self, key: Key) -> None:
        """While there is something to do for a key; an error, even one of ours, only slows this one down."""
        failures, dirty = 0, self._dirty[key]
        try:
            while dirty.is_set():
                dirty.clear()
                try:
                    await self.reconcile(key)
                    failures = 0
                except Exception as error:
                    delay = min(LONGEST_RETRY, FIRST_RETRY * 2.0**failures)
                    failures += 1
                    unexpected = None if isinstance(error, KaosError) else error
                    log.warning("%s %s/%s: %s; again in %.1f s", *key, error, delay, exc_info=unexpected)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(dirty.wait(), delay)
                    dirty.set()
        finally:
            del self._workers[key], self._dirty[key]

    async def reconcile(self, key: Key) -> None:
        """Once, from what is seen now."""
        resource = self._world.resource(key)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return
        if key.kind is Kind.AGENT:
            await self._retell(key, resource)
        rendered = render(resource, self._world.context(resource))
        refused: ApiError | None = None
        if rendered.children is not None:
            self._remember_reads(key, rendered.children)
            try:
                for gone in await self._children.apply(resource, rendered.children):
                    await self._event(resource, "Normal", "Pruned", f"{gone} is not wanted any more")
            except ApiError as error:
                if not _permanent(error):
                    raise
                refused = error
                rendered = failed("Rejected", f"the API server refused a child: {error}", *rendered.verdicts)
        await self._tell(key, resource, rendered)
        if refused is not None:
            raise refused

    async def _retell(self, key: Key, resource: Object) -> None:
        """Kubernetes events for what an agent reports; it has no right to write them itself."""
        known = self._told.get(key)
        seen = own_conditions(resource)
        self._told[key] = {type_: condition["status"] for type_, condition in seen.items()}
        for type_, condition in seen.items():
            if known is None or known.get(type_, "False") == condition["status"]:
                continue
            turned = condition["status"] == "True"
            kind = "Warning" if turned and type_ in ("BudgetExhausted", "IterationsFailing") else "Normal"
            await self._event(resource, kind, type_ if turned else f"Not{type_}", condition["message"])

    async def _tell(self, key: Key, resource: Object, rendered: Rendered) -> None:
        deployment = self._world.children_of(resource).get(("Deployment", names.child(key.kind, key.name)))
        tools = self._tools_of(key, rendered, deployment) if key.kind is Kind.MCPSERVER else None
        hint = trouble(self._world.pods_of(key))
        status = desired_status(resource, rendered, deployment, now=self._now(), tools=tools, trouble=hint)
        before = resource.get("status") or {}
        if not status_differs(before, status):
            return
        patch = {
            "apiVersion": names.API_VERSION,
            "kind": key.kind.value,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": resource["metadata"]["uid"]},
            "status": status,
        }
        try:
            await self._api.patch(
                RESOURCES[key.kind],
                key.name,
                patch,
                key.namespace,
                type=PatchType.APPLY,
                subresource="status",
                field_manager=names.OPERATOR,
                force=True,
            )
        except ApiError as error:
            if is_not_found(error):
                return  # it went meanwhile
            raise
        for type_, reason, message in transitions(before, status):
            await self._event(resource, type_, reason, message)

    async def _event(self, resource: Object, type_: str, reason: str, message: str) -> None:
        metadata, now = resource["metadata"], self._now()
        if not self._quota.take(_of(resource["kind"], metadata["namespace"], metadata["name"])):
            return
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": resource["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": type_,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": names.OPERATOR},
            "reportingComponent": names.OPERATOR,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._api.create(EVENTS, event, metadata["namespace"])
        except KaosError as error:
            log.warning("event %s of %s %s was not taken: %s", reason, resource["kind"], metadata["name"], error)

    # -- tools ---------------------------------------------------------------------------------------------------------

    def _tools_of(self, key: Key, rendered: Rendered, deployment: Object | None) -> list[str] | None:
        """The list known for the running pods; asks for it when there is none."""
        if rendered.tools_url is None or deployment is None:
            return None
        if not rolled_out(deployment):
            return None  # an older pod may still answer
        template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
        version = f"{deployment['metadata']['uid']} {template.get(names.POD_SPEC_HASH)}"
        known = self._tools.get(key)
        if known is not None and known[0] == version:
            return known[1]
        self._tools[key] = (version, None)
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(self._ask_tools(key, version), name=f"tools of {key}")
        return None

    async def _ask_tools(self, key: Key, version: str) -> None:
        try:
            for attempt in range(TOOL_ATTEMPTS):
                try:
                    found = await list_tools(self._api, names.child(key.kind, key.name), key.namespace)
                except (KaosError, ToolsError) as error:
                    log.info("%s %s/%s does not list its tools: %s", *key, error)
                    await asyncio.sleep(min(LONGEST_RETRY, FIRST_RETRY * 2.0**attempt))
                    continue
                self._tools[key] = (version, found)
                break
        finally:
            del self._asking[key]
        self.touch(key)

    # -- memory --------------------------------------------------------------------------------------------------------

    def _remember_reads(self, key: Key, children: list[Object]) -> None:
        reads: set[tuple[str, str]] = set()
        for child in children:
            if child["kind"] == "Deployment":
                reads |= references(child["spec"]["template"]["spec"])
        self._reads[key] = reads

    def _forget(self, key: Key) -> None:
        self._reads.pop(key, None)
        self._tools.pop(key, None)
        self._told.pop(key, None)
        self._quota.forget(_of(key.kind, key.namespace, key.name))


def _of(kind: str, namespace: str, name: str) -> str:
    return f"{kind}/{namespace}/{name}"


def _permanent(error: ApiError) -> bool:
    """The server will say the same to the same object."""
    return error.code in (400, 403, 405, 413, 415, 422)
