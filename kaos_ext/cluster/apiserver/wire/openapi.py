"""OpenAPI v3: an index and a document for each group and version, as far as kubectl asks for them.

kubectl reads from a document: the schema of a kind, that its PATCH takes `fieldValidation`, which patches it takes.
Documents are made from the discovery listing (`wire.discovery`) and the schemas; make them when asked for, and keep
what was made under its `fingerprint`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kaos_ext.cluster.apiserver.schema.builtin import builtin_components, component_name, descriptions

Object = dict[str, Any]

VERSION = "1.36"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_REF = "#/components/schemas/"
_PATCHES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_PARAMETERS = {
    "dryRun": ("string", "Modifications are not persisted. Valid values are: - All"),
    "fieldManager": ("string", "The name of the actor that makes these changes, needed for apply requests."),
    "fieldValidation": (
        "string",
        "What happens to unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
    ),
    "force": ("boolean", "Take over fields that others own; only for apply requests."),
    "gracePeriodSeconds": ("integer", "The time in seconds before the object is deleted."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "propagationPolicy": ("string", "What happens to dependents: Orphan, Background or Foreground."),
    "allowWatchBookmarks": ("boolean", "Ask for BOOKMARK events in a watch."),
    "continue": ("string", "Where a list that was cut by limit goes on."),
    "fieldSelector": ("string", "Restricts the objects by their fields."),
    "labelSelector": ("string", "Restricts the objects by their labels."),
    "limit": ("integer", "The most objects to answer with."),
    "resourceVersion": ("string", "The version from which on objects are wanted."),
    "resourceVersionMatch": ("string", "How resourceVersion is applied to a list."),
    "sendInitialEvents": ("boolean", "Begin a watch with the present objects."),
    "timeoutSeconds": ("integer", "How long the call may last."),
    "watch": ("boolean", "Watch for changes instead of listing."),
}
_CODES = {"200": "OK", "201": "Created", "202": "Accepted"}
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_DELETES = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_LISTS = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)


def path_of(group: str, version: str) -> str:
    """The key of a group and version in the index: `api/v1`, `apis/apps/v1`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(fingerprints: Mapping[str, str]) -> Object:
    """The answer of `/openapi/v3`: path (`path_of`) → fingerprint."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={mark}"}
            for path, mark in sorted(fingerprints.items())
        }
    }


def fingerprint(
    group: str, version: str, resources: Sequence[Object], custom: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Changes whenever the document would; cheap, the document is not made."""
    text = json.dumps([VERSION, group, version, resources, custom or {}], sort_keys=True, separators=(",", ":"))
    return hashlib.sha512(text.encode()).hexdigest().upper()


def document(
    group: str, version: str, resources: Sequence[Object], custom: Mapping[str, Mapping[str, Any]] | None = None
) -> Object:
    """The document of one group and version; `resources` as discovery lists them, `custom` kind → schema of CRDs."""
    maker = _Document(group, version, custom or {})
    for resource in resources:
        maker.add(resource)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": maker.paths,
        "components": {
            "schemas": maker.schemas(),
            "securitySchemes": {
                "BearerToken": {
                    "type": "apiKey",
                    "description": "Bearer Token authentication",
                    "name": "authorization",
                    "in": "header",
                }
            },
        },
    }


def custom_name(group: str, version: str, kind: str) -> str:
    """The component of a custom kind: `dev.ex.v1.Gadget`."""
    return ".".join([*reversed(group.split(".")), version, kind])


class _Document:
    def __init__(self, group: str, version: str, custom: Mapping[str, Mapping[str, Any]]) -> None:
        self.group, self.version, self.custom = group, version, custom
        self.tag = (_camel(group, first=False) or "core") + f"_{version}"
        self.base = "/" + path_of(group, version)
        self.paths: Object = {}
        self.wanted: dict[str, Object | None] = {}

    def add(self, resource: Object) -> None:
        kind, verbs = resource["responseKind"]["kind"], frozenset(resource["verbs"])
        namespaced = resource["scope"] == "Namespaced"
        names = [self._parameter_in_path("namespace")] if namespaced else []
        collection = f"{self.base}/namespaces/{{namespace}}/{resource['resource']}"
        if not namespaced:
            collection = f"{self.base}/{resource['resource']}"
        if namespaced and "list" in verbs:
            everywhere = {"get": self._operation("list", kind, "ForAllNamespaces", listing=True)}
            self.paths[f"{self.base}/{resource['resource']}"] = everywhere
        self._path(collection, kind, verbs & {"create", "list", "deletecollection"}, names, namespaced)
        named = [*names, self._parameter_in_path("name")]
        self._path(f"{collection}/{{name}}", kind, verbs & {"get", "update", "patch", "delete"}, named, namespaced)
        for below in resource.get("subresources") or ():
            of = below["responseKind"]
            self._path(
                f"{collection}/{{name}}/{below['subresource']}",
                of["kind"],
                frozenset(below["verbs"]),
                named,
                namespaced,
                below=below["subresource"],
                gvk=(of.get("group") or self.group, of.get("version") or self.version, of["kind"]),
            )

    def _path(
        self,
        path: str,
        kind: str,
        verbs: frozenset[str],
        parameters: list[Object],
        namespaced: bool,
        *,
        below: str = "",
        gvk: tuple[str, str, str] | None = None,
    ) -> None:
        methods = {
            "list": "get",
            "get": "get",
            "create": "post",
            "update": "put",
            "patch": "patch",
            "delete": "delete",
            "deletecollection": "delete",
        }
        item: Object = {}
        for verb, method in methods.items():
            if verb in verbs:
                scope = "Namespaced" if namespaced else ""
                item[method] = self._operation(verb, kind, scope, listing=verb == "list", below=below, gvk=gvk)
        if item:
            self.paths[path] = {**item, "parameters": parameters} if parameters else item

    def _operation(
        self,
        verb: str,
        kind: str,
        scope: str,
        *,
        listing: bool = False,
        below: str = "",
        gvk: tuple[str, str, str] | None = None,
    ) -> Object:
        gvk = gvk or (self.group, self.version, kind)
        words = {
            "list": "list or watch objects of kind",
            "get": "read the specified",
            "create": "create a",
            "update": "replace the specified",
            "patch": "partially update the specified",
            "delete": "delete a",
            "deletecollection": "delete collection of",
        }
        names = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}
        actions = {"update": "put", "create": "post"}
        group = _camel(self.group, first=True) or "Core"
        which = scope if scope != "ForAllNamespaces" else ""
        suffix = "ForAllNamespaces" if scope == "ForAllNamespaces" else ""
        ending = below[:1].upper() + below[1:]
        version = self.version[:1].upper() + self.version[1:]
        operation: Object = {
            "tags": [self.tag],
            "description": f"{words[verb]} {kind}" if not below else f"{words[verb]} {kind} ({below})",
            "operationId": f"{names.get(verb, verb)}{group}{version}{which}{kind}{ending}{suffix}",
        }
        own = self._component(gvk)
        if listing:
            answer = self._list_component(gvk, own)
            operation["parameters"] = [_parameter(name) for name in _LISTS]
        else:
            answer = own
        if verb in ("create", "update", "patch"):
            extra = ("force",) if verb == "patch" else ()
            operation["parameters"] = [_parameter(name) for name in (*_WRITES, *extra)]
            operation["requestBody"] = self._body(verb, own, gvk)
        elif verb in ("delete", "deletecollection"):
            operation["parameters"] = [_parameter(name) for name in _DELETES]
            operation["requestBody"] = {"content": {"*/*": {"schema": self._ref(f"{_META}.DeleteOptions")}}}
            answer = f"{_META}.Status"
        types = ["application/json", "application/yaml"]
        if gvk[2] not in self.custom:
            types.insert(1, "application/vnd.kubernetes.protobuf")
        content = {one: {"schema": self._ref(answer)} for one in types}
        codes = {"create": ("200", "201", "202"), "update": ("200", "201"), "delete": ("200", "202")}
        if gvk[2] not in self.custom:
            codes["patch"] = ("200", "201")
        operation["responses"] = {
            code: {"description": _CODES[code], "content": content} for code in codes.get(verb, ("200",))
        }
        operation["responses"]["401"] = {"description": "Unauthorized"}
        operation["x-kubernetes-action"] = actions.get(verb, verb)
        operation["x-kubernetes-group-version-kind"] = {"group": gvk[0], "version": gvk[1], "kind": gvk[2]}
        return operation

    def _body(self, verb: str, component: str, gvk: tuple[str, str, str]) -> Object:
        if verb != "patch":
            return {"content": {"*/*": {"schema": self._ref(component)}}, "required": True}
        types = _PATCHES if gvk[2] in self.custom else (*_PATCHES, _STRATEGIC)
        return {"content": {one: {"schema": self._ref(f"{_META}.Patch")} for one in types}, "required": True}

    def _ref(self, component: str) -> Object:
        self.wanted.setdefault(component, None)
        return {"$ref": _REF + component}

    def _parameter_in_path(self, name: str) -> Object:
        text = "object name and auth scope, such as for teams and projects" if name == "namespace" else "name"
        schema = {"type": "string", "uniqueItems": True}
        return {"name": name, "in": "path", "description": text, "required": True, "schema": schema}

    def _component(self, gvk: tuple[str, str, str]) -> str:
        if gvk[2] in self.custom and gvk[0] == self.group:
            name = custom_name(*gvk)
            if self.wanted.get(name) is None:
                self.wanted[name] = _custom_schema(gvk, self.custom[gvk[2]])
            return name
        return component_name(gvk) or f"{_META}.Status"

    def _list_component(self, gvk: tuple[str, str, str], own: str) -> str:
        name = own + "List"
        if gvk[2] in self.custom and self.wanted.get(name) is None:
            self.wanted[name] = _custom_list(gvk, own)
        return name if name in self.wanted or name in builtin_components() else own

    def schemas(self) -> Object:
        """All components that are referred to, and those that these refer to."""
        made: Object = {}
        waiting = list(self.wanted)
        while waiting:
            name = waiting.pop()
            if name in made:
                continue
            schema = self.wanted.get(name) or _described(name)
            made[name] = schema
            waiting += _references(schema)
        return dict(sorted(made.items()))


def _camel(group: str, *, first: bool) -> str:
    """`ex2.dev` → Ex2Dev, `rbac.authorization.k8s.io` → RbacAuthorization."""
    parts = group.removesuffix(".k8s.io").split(".") if group else []
    text = "".join(part[:1].upper() + part[1:] for part in parts)
    return text if first else text[:1].lower() + text[1:]


def _parameter(name: str) -> Object:
    kind, text = _PARAMETERS[name]
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind, "uniqueItems": True}}


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        target = value.get("$ref")
        if isinstance(target, str):
            yield target.removeprefix(_REF)
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _described(name: str) -> Object:
    """A built-in component with its texts."""
    schema = builtin_components().get(name) or {"type": "object"}
    texts = descriptions().get(name) or {}
    made = {"description": texts[""], **schema} if "" in texts else dict(schema)
    made.pop("x-kubernetes-preserve-unknown-fields", None)
    if "properties" in schema:
        made["properties"] = {key: _member(child, texts.get(key)) for key, child in schema["properties"].items()}
    return made


def _member(schema: Object, text: str | None) -> Object:
    if "$ref" in schema and (text or len(schema) > 1):
        schema = {"allOf": [{"$ref": schema["$ref"]}], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {"description": text, **schema} if text else schema


def _custom_schema(gvk: tuple[str, str, str], openapi: Mapping[str, Any]) -> Object:
    properties = {
        **(openapi.get("properties") or {}),
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": {
            "description": "Standard object's metadata. More info: "
            "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
            "allOf": [{"$ref": f"{_REF}{_META}.ObjectMeta"}],
        },
    }
    mark = [{"group": gvk[0], "kind": gvk[2], "version": gvk[1]}]
    return {**openapi, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": mark}


def _custom_list(gvk: tuple[str, str, str], own: str) -> Object:
    return {
        "description": f"{gvk[2]}List is a list of {gvk[2]}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "items": {"description": f"List of {gvk[2]}", "type": "array", "items": {"$ref": _REF + own}},
            "kind": {"description": _KIND, "type": "string"},
            "metadata": {
                "description": "Standard list metadata.",
                "allOf": [{"$ref": f"{_REF}{_META}.ListMeta"}],
            },
        },
        "x-kubernetes-group-version-kind": [{"group": gvk[0], "kind": gvk[2] + "List", "version": gvk[1]}],
    }
