"""What the three kinds have in common: deploy, list, get, logs, delete."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kaos_ext.commands import outputs
from kaos_ext.commands.failures import check_namespace, explain, get_existing
from kaos_ext.commands.kinds import Spoken
from kaos_ext.commands.result import Answer, Done, Plain, Result, Update
from kaos_ext.commands.session import Session
from kaos_ext.commands.waiting import trouble, until_ready
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import PODS, ApiError, Object, Propagation
from kaos_ext.model import names
from kaos_ext.model.errors import NotReadyError, UsageError
from kaos_ext.views import LogView


def manifest(spoken: Spoken, name: str, spec: Object) -> Object:
    """An object of ours, without a namespace: that is the session's."""
    return {"apiVersion": names.API_VERSION, "kind": spoken.kind.value, "metadata": {"name": name}, "spec": spec}


def without_empty(fields: Object) -> Object:
    """Only what was said: an absent field is nobody's, an empty one would be ours."""
    return {key: value for key, value in fields.items() if value not in (None, "", (), [], {})}


def environment(pairs: Sequence[str]) -> list[Object]:
    """`KEY=VALUE` words as a container's env; the last of a name wins."""
    found: dict[str, Object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--env `{pair}` is not KEY=VALUE", hint="--env LOG_LEVEL=DEBUG")
        found[key] = {"name": key, "value": value}
    return list(found.values())


async def deploy(
    session: Session, spoken: Spoken, item: Object, success: str, *, wait: bool, wait_timeout: float, dry_run: bool
) -> Result:
    """Server-side apply of our fields; whatever is wrong with them is refused before anything is changed."""
    if dry_run:
        return Result(Plain(outputs.to_yaml(item)), item)
    kube = await session.changing()
    name = item["metadata"]["name"]
    try:
        made = await kube.apply(item, resource=spoken.resource)
    except ApiError as error:
        raise await explain(kube, error, spoken) from error
    if wait:
        made = await until_ready(session, spoken, name, wait_timeout, int(made["metadata"].get("generation") or 0))
    return Result(Done(success), outputs.without_bookkeeping(made))


async def list_kind(session: Session, spoken: Spoken, output: str, all_namespaces: bool) -> Result:
    kube = await session.kube()
    try:
        found = await kube.list(spoken.resource, None if all_namespaces else kube.namespace)
    except ApiError as error:
        raise await explain(kube, error, spoken) from error
    if not found.items and not all_namespaces:
        await check_namespace(kube)
    return outputs.listed(found.items, spoken, output, kube.namespace, all_namespaces)


async def get_one(session: Session, spoken: Spoken, name: str, output: str) -> Result:
    kube = await session.kube()
    item = await get_existing(kube, spoken, name)
    if output == "wide":
        return outputs.listed([item], spoken, output, kube.namespace, False)
    view = outputs.formed(item, spoken, output) or outputs.card(item, spoken)
    return Result(view, outputs.without_bookkeeping(item))


async def delete_one(session: Session, spoken: Spoken, name: str, wait: bool, wait_timeout: float) -> Result:
    kube = await session.kube()
    await get_existing(kube, spoken, name)
    await session.changing()
    gone = await kube.delete(
        spoken.resource, name, propagation=Propagation.FOREGROUND if wait else Propagation.BACKGROUND
    )
    if wait:
        await kube.wait(spoken.resource, name, kube.namespace, lambda item: item is None, wait_timeout)
    return Result(Done(f"Deleted {spoken.kind.value} '{name}'"), gone)


async def logs_of(
    session: Session, spoken: Spoken, name: str, follow: bool, tail: int | None, previous: bool
) -> Answer:
    kube = await session.kube()
    item = await get_existing(kube, spoken, name)
    pod = await newest_pod(kube, spoken, name, item)
    source = f"{spoken.word}/{name}"
    lines = kube.logs(
        pod["metadata"]["name"],
        container=spoken.kind.container if _has(pod, spoken.kind.container) else "",
        follow=follow,
        tail=tail,
        previous=previous,
    )
    if follow:
        return _follow(source, lines)
    async with aclosing(lines):
        found = tuple([line async for line in lines])
    return Result(LogView(source, found), {"pod": pod["metadata"]["name"], "lines": list(found)})


async def newest_pod(kube: KubeClient, spoken: Spoken, name: str, item: Object) -> Object:
    """The pod that does the work now: not one that is going away, if there is another."""
    pods = (await kube.list(PODS, kube.namespace, labels=spoken.selector(name))).items
    if not pods:
        status = item.get("status") or {}
        why = status.get("message") or "it has no pod yet"
        raise NotReadyError(
            f"{spoken.kind.value} {name} has printed nothing: {why}", hint=f"kaos {spoken.word} get {name}"
        )
    pods.sort(key=lambda pod: (not pod["metadata"].get("deletionTimestamp"), pod["metadata"]["creationTimestamp"]))
    newest = pods[-1]
    statuses = (newest.get("status") or {}).get("containerStatuses") or []
    if statuses and not any("running" in (s.get("state") or {}) or s.get("restartCount") for s in statuses):
        waits = trouble(newest)
        if waits and not any("terminated" in (s.get("state") or {}) for s in statuses):
            raise NotReadyError(
                f"{spoken.kind.value} {name} has printed nothing: {waits}", hint=f"kaos {spoken.word} get {name}"
            )
    return newest


def _has(pod: Object, container: str) -> bool:
    return any(entry.get("name") == container for entry in (pod.get("spec") or {}).get("containers") or ())


async def _follow(source: str, lines: AsyncGenerator[str, None]) -> AsyncGenerator[Update, None]:
    kept: tuple[str, ...] = ()
    async with aclosing(lines):
        async for line in lines:
            kept = (*kept, line)[-1000:]
            yield Update(LogView(source, kept, follow=True), line, {"line": line})
