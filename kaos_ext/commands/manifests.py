"""Files of YAML documents: read, checked for what every object needs, applied in order, refused with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kaos_ext.commands.failures import explain_kind, no_namespace
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.discovery import KindUnknown
from kaos_ext.kube.objects import NAMESPACES, ApiError, Object
from kaos_ext.model.errors import KaosError, UsageError

FIRST = ("Namespace", "CustomResourceDefinition")


def documents(text: str, source: str) -> list[Object]:
    """The objects of a file; a `List` is its items. UsageError names the document and what it lacks."""
    import yaml

    try:
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark is not None else ""
        raise KaosError(
            f"{source}{where} is not YAML: {getattr(error, 'problem', None) or error}", hint="mend the YAML"
        ) from error
    items: list[Object] = []
    for number, document in enumerate(found, 1):
        listed = isinstance(document, dict) and document.get("kind") == "List"
        inner = (document.get("items") or []) if listed else [document]
        items += [_checked(item, f"{source} document {number}") for item in inner]
    if not items:
        raise UsageError(f"{source} holds no objects", hint="kaos agent deploy NAME … --dry-run prints one")
    return items


def _checked(item: Any, where: str) -> Object:
    if not isinstance(item, dict):
        raise KaosError(f"{where} is not an object but {type(item).__name__}", hint="apiVersion, kind, metadata, spec")
    metadata = item.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    for field, value in (("apiVersion", item.get("apiVersion")), ("kind", item.get("kind")), ("metadata.name", name)):
        if not isinstance(value, str) or not value:
            raise KaosError(f"{where} has no {field}", hint="every object has apiVersion, kind and metadata.name")
    return item


def title(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"


async def apply_all(
    kube: KubeClient, items: Sequence[Object], *, force: bool, field_manager: str = "kaos"
) -> list[Object]:
    """Apply in order. Several objects are first tried without writing, so that one bad one changes nothing."""
    await check_kinds(kube, items)
    if len(items) > 1 and not any(item["kind"] in FIRST for item in items):
        await asyncio.gather(*(_apply(kube, item, force, field_manager, dry_run=True) for item in items))
    return [await _apply(kube, item, force, field_manager) for item in items]


async def check_kinds(kube: KubeClient, items: Sequence[Object]) -> None:
    made_here = {
        (f"{item['spec']['group']}/{version['name']}", item["spec"]["names"]["kind"])
        for item in items
        if item["kind"] == "CustomResourceDefinition"
        for version in item["spec"]["versions"]
    }
    for item in items:
        if (item["apiVersion"], item["kind"]) not in made_here:
            try:
                await kube.resource_of(item["apiVersion"], item["kind"])
            except KindUnknown as error:
                raise await explain_kind(kube, error) from error


async def _apply(kube: KubeClient, item: Object, force: bool, field_manager: str, dry_run: bool = False) -> Object:
    try:
        return await kube.apply(item, force=force, field_manager=field_manager, dry_run=dry_run)
    except ApiError as error:
        details = error.status.get("details") or {}
        if error.code == 404 and details.get("kind") == NAMESPACES.plural:
            raise await no_namespace(kube, str(details.get("name"))) from error
        refused = ApiError(
            {**error.status, "message": f"{title(item)} was refused: {error.message}"}, hint=_next(error)
        )
        raise refused from error


def _next(error: ApiError) -> str:
    if error.reason == "Conflict":
        return "--force takes the fields over"
    if "field not declared in schema" in error.message:
        return "kubectl explain names the fields there are; mend it and apply again"
    return "mend that field and apply again" if error.code in (400, 422) else error.hint
