"""`kaos samples …`: the examples that come with the package."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kaos_ext.commands import outputs
from kaos_ext.commands.grammar import closest
from kaos_ext.commands.kinds import ALL
from kaos_ext.commands.manifests import apply_all, check_kinds, documents, title
from kaos_ext.commands.modelapi import spec_of
from kaos_ext.commands.result import Done, Plain, Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.waiting import until_ready
from kaos_ext.kube.objects import ApiError, Object
from kaos_ext.model.errors import UnknownNameError, UsageError
from kaos_ext.model.names import Kind
from kaos_ext.views import Table


def samples() -> dict[str, Path]:
    """Every sample by name."""
    from kaos_operator.assets import asset_folder

    return {path.stem: path for path in sorted(asset_folder("samples").glob("*.yaml"))}


def sample(name: str) -> list[Object]:
    known = samples()
    if name not in known:
        meant = closest(name, known)
        hint = f"did you mean `{meant}`?" if meant else f"one of: {', '.join(known)}"
        raise UnknownNameError(f"there is no sample `{name}`", hint=hint)
    return documents(known[name].read_text(), name)


def about(path: Path) -> str:
    """The comment at the top of a sample."""
    first = path.read_text().partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


async def list_all(session: Session) -> Result:
    found = samples()
    rows = tuple((name, about(path)) for name, path in found.items())
    data = [{"name": name, "about": what} for name, what in rows]
    return Result(Table("samples", ("name", "what it shows"), rows), data)


async def deploy(
    session: Session,
    *,
    sample: str,
    modelapi: str | None,
    mode: str | None,
    model: str | None,
    provider: str | None,
    base_url: str | None,
    api_secret: str | None,
    wait: bool,
    wait_timeout: float,
    dry_run: bool,
) -> Result:
    other = any((mode, provider, base_url, api_secret))
    if modelapi and other:
        raise UsageError(
            "--modelapi uses an existing ModelAPI; the flags of a new one exclude it", hint="leave one out"
        )
    items = fitted(_items(sample), modelapi, model)
    if other:
        spec = spec_of(mode or "Proxy", [model] if model else [], provider, base_url, api_secret)
        items = [{**item, "spec": spec} if item["kind"] == Kind.MODELAPI.value else item for item in items]
    if dry_run:
        return Result(Plain(outputs.to_yaml(*items)), items)
    place = settle(session, sample)
    kube = await session.changing()
    if place:
        await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place}})
    made = await apply_all(kube, [inside(item, kube.namespace) for item in items], force=True)
    if wait:
        await asyncio.gather(*(_ready(session, item, wait_timeout) for item in made))
    where = kube.namespace
    return Result(Done(f"Deployed sample '{sample}' in namespace {where}", f"kaos agent list -n {where}"), made)


def settle(session: Session, name: str) -> str:
    """Without -n a sample goes into the namespace it brings along; its name, if that is to be made."""
    place = "" if session.options.namespace else home(name)
    if place:
        session.options = replace(session.options, namespace=place)
    return place


def _items(name: str) -> list[Object]:
    return sample(name)


def home(name: str) -> str:
    """The namespace that a sample brings along."""
    return next((str(item["metadata"]["name"]) for item in sample(name) if item["kind"] == "Namespace"), "")


def fitted(items: Sequence[Object], modelapi: str | None, model: str | None) -> list[Object]:
    """Without the namespace; with another ModelAPI or model where that was asked for."""
    kept = [item for item in items if item["kind"] != "Namespace"]
    if modelapi:
        kept = [item for item in kept if item["kind"] != Kind.MODELAPI.value]
    changes = {key: value for key, value in (("modelAPI", modelapi), ("model", model)) if value}
    return [
        {**item, "spec": {**item["spec"], **changes}} if item["kind"] == Kind.AGENT.value else item for item in kept
    ]


def inside(item: Object, namespace: str) -> Object:
    """The object in this namespace, its role bindings' subjects too."""
    moved = {**item, "metadata": {**item["metadata"], "namespace": namespace}}
    if "subjects" in item:
        moved["subjects"] = [{**subject, "namespace": namespace} for subject in item["subjects"]]
    return moved


async def _ready(session: Session, item: Object, patience: float) -> None:
    spoken = next((kind for kind in ALL if kind.kind.value == item["kind"]), None)
    if spoken is not None:
        await until_ready(session, spoken, item["metadata"]["name"], patience, item["metadata"].get("generation", 0))


async def delete(session: Session, *, sample: str) -> Result:
    items = fitted(_items(sample), None, None)
    settle(session, sample)
    kube = await session.changing()
    place = kube.namespace
    await check_kinds(kube, items)
    gone = []
    for item in reversed(items):
        resource = await kube.resource_of(item["apiVersion"], item["kind"])
        try:
            await kube.delete(resource, item["metadata"]["name"], place)
        except ApiError as error:
            if error.code != 404:
                raise
            continue
        gone.append(title(item))
    said = f"Deleted {', '.join(gone)}" if gone else f"Nothing of sample '{sample}' was in namespace {place}"
    return Result(Done(said), {"deleted": gone})
