"""Patches as makers: each reads a body once and gives the function from the present object to the wanted one."""

from __future__ import annotations

import json
import re
from typing import Any

from kaos_ext.cluster.apiserver import failures, rules
from kaos_ext.cluster.apiserver.bodies import (
    duplicate_words,
    duplicates,
    from_yaml,
    go_json_error,
    media_type,
    yaml_duplicates,
)
from kaos_ext.cluster.apiserver.metadata import copied, timestamp
from kaos_ext.cluster.apiserver.operations import Make
from kaos_ext.cluster.apiserver.options import WriteOptions
from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import forbidden, invalid, required
from kaos_ext.kube.objects import ApiError, Object, PatchType


def accepted(served: Served) -> list[str]:
    kinds = [PatchType.JSON, PatchType.MERGE, PatchType.STRATEGIC, PatchType.APPLY]
    if served.custom:
        kinds.remove(PatchType.STRATEGIC)
    return [kind.value for kind in kinds]


def patch_type(served: Served, content_type: str | None) -> PatchType:
    media = media_type(content_type)
    if media not in accepted(served):
        raise failures.unsupported_media_type(accepted(served))
    return PatchType(media)


def check_options(kind: PatchType, options: WriteOptions) -> None:
    complaints = []
    if kind is PatchType.APPLY and not options.named_manager:
        complaints.append(required("fieldManager", "is required for apply patch"))
    if kind is not PatchType.APPLY and options.force:
        complaints.append(forbidden("force", "may not be specified for non-apply patch"))
    if complaints:
        raise failures.invalid("meta.k8s.io", "PatchOptions", "", complaints)


def parse(kind: PatchType, body: bytes, options: WriteOptions) -> Any:
    """The patch itself, out of a request's body."""
    if kind is PatchType.APPLY:
        try:
            patch = from_yaml(body)
        except ApiError as error:
            raise failures.bad_request(f"error decoding YAML: {error}") from None
        if options.validation != "Ignore" and (twice := yaml_duplicates(body)):
            if options.strict:
                words = "\n  ".join(["error converting YAML to JSON: yaml: unmarshal errors:", *twice])
                raise failures.bad_request(f"error strict decoding YAML: {words}")
            options.warnings += twice
        return patch
    text = body.decode("utf-8", "replace")
    try:
        patch = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = go_json_error(text, error)
        raise failures.bad_request(why if kind is PatchType.STRATEGIC else f"error decoding patch: {why}") from None
    if kind is PatchType.MERGE and options.validation != "Ignore":
        options.duplicates += duplicate_words(duplicates(text))
    return patch


def maker(served: Served, kind: PatchType, patch: Any, options: WriteOptions) -> Make:
    """For the three patches that change an object there is."""

    def unreadable(result: Object, why: str) -> ApiError:
        if kind is PatchType.STRATEGIC:
            why = _unconvertible(why)
        return failures.invalid("", "", "", [invalid("patch", _patch_shown(served, kind, patch, result), why)])

    def make(old: Object) -> Object:
        result = patched(served, kind, old, patch)
        if options.validation != "Ignore":
            _check_fields(served, kind, patch, result, options)
        return result

    options.patched = True
    if not served.custom:
        options.unreadable = unreadable

    return make


def patched(served: Served, kind: PatchType, old: Object, patch: Any) -> Object:
    try:
        return _patched(served, kind, old, patch)
    except PatchError as error:
        raise patch_failure(error) from None


def _patched(served: Served, kind: PatchType, old: Object, patch: Any) -> Object:
    if kind is PatchType.JSON:
        from kaos_ext.cluster.apiserver.patch.json_patch import apply_json_patch

        return apply_json_patch(old, patch)
    if kind is PatchType.MERGE:
        from kaos_ext.cluster.apiserver.patch.merge import merge_patch

        merged: Object = copied(merge_patch(old, patch))
    else:
        from kaos_ext.cluster.apiserver.patch.strategic import strategic_patch

        merged = copied(strategic_patch(old, patch, rules.type_of(served)))
    return merged


def patch_failure(error: PatchError) -> ApiError:
    if error.code == 400:
        return failures.bad_request(error.message)
    if error.code == 422:
        return failures.failure(422, "Invalid", error.message, {}, hint=error.detail)
    if error.code == 413:
        return failures.failure(413, "RequestEntityTooLarge", error.message)
    return failures.failure(error.code, "", error.message)


def _check_fields(served: Served, kind: PatchType, patch: Any, result: Object, options: WriteOptions) -> None:
    """Fields that the kind has not, or that the patch names twice: refused or warned of."""
    words = [*options.duplicates, *rules.unknown_words(sorted(rules.unknown_fields(served, result)))]
    if not words:
        return
    if not options.strict:
        options.warnings += [one for one in words if one not in options.warnings]
        return
    why = invalid("patch", _patch_shown(served, kind, patch, result), rules.strict_error(words))
    raise failures.invalid("", "", "", [why])


def _patch_shown(served: Served, kind: PatchType, patch: Any, result: Object) -> str:
    """What a refusal shows: a strategic patch itself, of the others what they made of the object."""
    if kind is PatchType.STRATEGIC:
        from kaos_ext.cluster.apiserver.patch.strategic import go_text

        return go_text(patch)
    if served.custom:
        return json.dumps(result, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return json.dumps(_in_go_order(result), separators=(",", ":"), ensure_ascii=False)


_UNREADABLE = re.compile(r"json: cannot unmarshal (\w+)(?: [^ ]+)? into .* of type (\S+)")
_GO_KINDS = {"object": "map", "array": "slice", "number": "int64"}


def _unconvertible(why: str) -> str:
    """A value of the wrong type in the words of the converter that reads what a strategic patch made."""
    found = _UNREADABLE.fullmatch(why)
    if found is None:
        return why
    have, go = _GO_KINDS.get(found[1], found[1]), found[2].lstrip("*")
    if go.startswith("[]"):
        return f"cannot restore slice from {have}"
    if go.startswith("map["):
        return f"cannot restore map from {have}"
    return f"cannot restore struct from: {have}" if "." in go else f"unrecognized type: {go}"


_META_ORDER = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")


def _in_go_order(object: Object) -> Object:
    head: Object = {key: object[key] for key in ("apiVersion", "kind") if key in object}
    meta = object.get("metadata") or {}
    ordered = {key: meta[key] for key in _META_ORDER if key in meta}
    rest = {key: value for key, value in object.items() if key not in (*head, "metadata")}
    return {**head, "metadata": {**ordered, **meta}, **rest}


class Apply:
    """Server-side apply of one configuration: `make` changes the live object, `absent` makes the first one."""

    def __init__(self, served: Served, applied: Any, name: str, options: WriteOptions, subresource: str) -> None:
        if not isinstance(applied, dict):
            raise failures.bad_request("error decoding YAML: an applied configuration is an object")
        problem = rules.head_problem(served, applied)
        if problem:
            raise failures.bad_request(rules.cannot_be_handled(served, problem))
        kind, api_version = applied.get("kind") or "", applied.get("apiVersion") or ""
        if kind != served.kind or api_version != served.api_version:
            group, _, version = api_version.rpartition("/")
            raise failures.bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
        if applied.get("metadata") is None:
            applied["metadata"] = {}
        meta = applied["metadata"]
        if meta.get("name") not in (None, "", name):
            raise failures.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            )
        meta["name"] = name
        if meta.get("managedFields"):
            raise failures.bad_request("metadata.managedFields must be nil")
        self._served = served
        self._applied = applied
        self._options = options
        self._subresource = subresource
        self._name = name

    def make(self, live: Object) -> Object:
        version = self._applied["metadata"].get("resourceVersion")
        if version and version != live["metadata"]["resourceVersion"]:
            raise failures.conflict(self._served, self._name)
        return self._merged(live)

    def absent(self) -> Object:
        uid = self._applied["metadata"].get("uid")
        if uid:
            raise failures.conflict(
                self._served,
                self._name,
                f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
            )
        self._applied["metadata"].pop("resourceVersion", None)
        return self._merged(None)

    def _merged(self, live: Object | None) -> Object:
        from kaos_ext.cluster.apiserver.apply.server_side import ApplyConflict, server_side_apply

        served, options = self._served, self._options
        try:
            merged: Object = server_side_apply(
                live,
                copied(self._applied),
                manager=options.manager,
                force=options.force,
                type=rules.type_of(served),
                subresource=self._subresource,
                now=timestamp(),
                api_version=served.api_version,
                empty=rules.empty(served),
                status_subresource=served.has("status"),
            )
        except PatchError as error:
            raise patch_failure(error) from None
        except ApplyConflict as error:
            raise failures.failure(409, "Conflict", error.message, {"causes": error.causes}) from None
        result: Object = copied(merged)
        return result
