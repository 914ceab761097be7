"""Make the tables of built-in kinds: `python -m kaos_ext.cluster.apiserver.schema.generate [GO_MODULE_CACHE]`.

`schemas.json.gz` and `descriptions.json.gz` come from the definitions in the PyPI package `kubernetes-validate`.
With the directory of a Go module cache that holds k8s.io/{api,apimachinery,apiextensions-apiserver,kube-aggregator}
and k8s.io/kubernetes also `golang.json.gz` (which member is a pointer `*`, which is written though empty `!`, and its
Go type, which messages name) and `columns.json.gz` (the columns of tables).
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

VERSION = "1.36"
GO_VERSION = "v0.36.3"
_DATA = Path(__file__).parent.parent / "data"
_ANY = {"x-kubernetes-preserve-unknown-fields": True}
_SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object", **_ANY},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"type": "object", **_ANY},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": {"type": "object", **_ANY},
}
_KEY_DEFAULTS = {
    ("io.k8s.api.core.v1.ContainerPort", "protocol"): "TCP",
    ("io.k8s.api.core.v1.ServicePort", "protocol"): "TCP",
}
"""Defaults of list keys: two entries are the same one whether the key is written or left to its default."""


def _node(node: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "$ref" in node:
        return {"$ref": "#/components/schemas/" + node["$ref"].rpartition("/")[2]}
    kind = node.get("type")
    if isinstance(kind, list):
        kind = next(one for one in kind if one != "null")
    if kind:
        made["type"] = kind
    for key in ("format", "required"):
        if key in node:
            made[key] = node[key]
    if isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _node(node["additionalProperties"])
    if isinstance(node.get("items"), dict):
        made["items"] = _node(node["items"])
    if "properties" in node:
        made["properties"] = {key: _node(child) for key, child in node["properties"].items()}
    made |= {
        key: value for key, value in node.items() if key.startswith("x-kubernetes-") and key != "x-kubernetes-unions"
    }
    return made


def schemas() -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{VERSION}.0-local"
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    components: dict[str, Any] = {}
    descriptions: dict[str, dict[str, str]] = {}
    for name, definition in sorted(definitions.items()):
        components[name] = _SPECIAL.get(name) or _node(definition)
        for key in ("properties",):
            for member, child in (definition.get(key) or {}).items():
                # An object without members of its own keeps only what a reference gives it.
                extras = {k: v for k, v in child.items() if k.startswith("x-kubernetes-")}
                if "$ref" in child and extras:
                    components[name][key][member] |= extras
                if (name, member) in _KEY_DEFAULTS:
                    components[name][key][member]["default"] = _KEY_DEFAULTS[name, member]
        texts = {"": definition["description"]} if "description" in definition else {}
        texts |= {k: v["description"] for k, v in (definition.get("properties") or {}).items() if "description" in v}
        descriptions[name] = texts
    return components, descriptions


_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.S | re.M)
_MEMBER = re.compile(r"^\t(?:(\w+)\s+)?([*\[\]\w.{}]+(?:\[[\w.]+\][*\w.]+)?)\s+`[^`]*json:\"([^\"]*)\"[^`]*`")
_PACKAGES = {
    "k8s.io/api": "io.k8s.api",
    "k8s.io/apimachinery/pkg": "io.k8s.apimachinery.pkg",
    "k8s.io/apiextensions-apiserver/pkg": "io.k8s.apiextensions-apiserver.pkg",
    "k8s.io/kube-aggregator/pkg": "io.k8s.kube-aggregator.pkg",
}


def go_types(modules: Path, components: dict[str, Any]) -> dict[str, dict[str, str]]:
    """component → member → flags and Go type; members of embedded structs count as one's own."""
    structs: dict[str, list[tuple[str, ...]]] = {}
    for module, prefix in _PACKAGES.items():
        root = module.partition("/pkg")[0]
        base = modules / f"{root}@{GO_VERSION}" / ("pkg" if "/pkg" in module else "")
        for file in sorted(base.rglob("*types*.go")) + sorted(base.rglob("types/*.go")):
            package = prefix + "." + ".".join(file.relative_to(base).parent.parts)
            text = file.read_text()
            for found in _STRUCT.finditer(text):
                rows = [row.groups("") for line in found[2].splitlines() if (row := _MEMBER.match(line))]
                structs[f"{package}.{found[1]}"] = [tuple(map(str, row)) for row in rows]
    table: dict[str, dict[str, str]] = {}

    def members(name: str) -> dict[str, str]:
        package = name.rpartition(".")[0]
        result: dict[str, str] = {}
        for field, kind, tag in structs.get(name, ()):
            json_name, *options = tag.split(",")
            if not json_name:
                inner = kind.lstrip("*")
                if "inline" in options or not field:
                    for candidate in (f"{package}.{inner}", f"io.k8s.api.core.v1.{inner.rpartition('.')[2]}"):
                        if candidate in structs:
                            result |= members(candidate)
                            break
                continue
            if json_name == "-":
                continue
            pointer = kind.startswith("*")
            local = f"{package}.{kind}"
            shared = f"io.k8s.api.core.v1.{kind.rpartition('.')[2]}" if "." in kind else local
            meta = "io.k8s.apimachinery.pkg.apis.meta.v1." + kind.rpartition(".")[2]
            is_struct = (
                local in structs
                or (kind.startswith("metav1.") and meta in structs)
                or (kind.partition(".")[0] in ("v1", "corev1", "core") and shared in structs)
            )
            is_struct = is_struct or kind in ("metav1.Time", "metav1.MicroTime", "Time")
            always = "omitempty" not in options or (is_struct and not pointer and "omitzero" not in options)
            result[json_name] = ("*" if pointer else "") + ("!" if always else "") + kind.lstrip("*")
        return result

    for name in components:
        if own := members(name):
            table[name] = own
    return table


_COLUMNS = re.compile(r"(\w+) := \[\]metav1\.TableColumnDefinition\{\n(.*?)\n\t\}", re.S)
_HANDLER = re.compile(r"h\.TableHandler\((\w+), print(\w+)\)")
_COLUMN = re.compile(r'\{Name: "([^"]+)", Type: "(\w+)"(.*)\},?')
_FROM = re.compile(r'Description: (?:\w+\.)(\w+)\{\}(?:\.InvolvedObject)?\.SwaggerDoc\(\)\["(\w*)"\]')


def columns(modules: Path, texts: dict[str, dict[str, str]]) -> dict[str, list[list[Any]]]:
    """kind → its table's columns as (name, type, format, description, priority)."""
    source = modules / f"kubernetes@{GO_VERSION.replace('v0', 'v1')}" / "pkg/printers/internalversion/printers.go"
    text = source.read_text()
    defined = {found[1]: found[2] for found in _COLUMNS.finditer(text)}
    by_struct: dict[str, dict[str, str]] = {}
    for name, members in texts.items():
        by_struct.setdefault(name.rpartition(".")[2], members)
        if ".autoscaling.v2." in name:
            by_struct[name.rpartition(".")[2]] = members
    table: dict[str, list[list[Any]]] = {}
    for variable, kind in _HANDLER.findall(text):
        if kind.endswith("List") or variable not in defined:
            continue
        rows = []
        for line in defined[variable].splitlines():
            found = _COLUMN.search(line)
            if found is None:
                continue
            name, column_type, rest = found.groups()
            source_of = _FROM.search(rest)
            written = re.search(r'Description: "((?:[^"\\]|\\.)*)"', rest)
            struct = source_of[1] if source_of else ""
            if ".InvolvedObject." in rest:
                struct = "ObjectReference"
            described = by_struct.get(struct, {}).get(source_of[2], "") if source_of else ""
            form, priority = re.search(r'Format: "(\w+)"', rest), re.search(r"Priority: (\d)", rest)
            rows.append(
                [
                    name,
                    column_type,
                    form[1] if form else "",
                    written[1].replace('\\"', '"') if written else described,
                    int(priority[1]) if priority else 0,
                ]
            )
        table[kind] = rows
    return table


def write(name: str, value: object) -> None:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    (_DATA / name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def main() -> None:
    components, descriptions = schemas()
    write("schemas.json.gz", components)
    write("descriptions.json.gz", descriptions)
    if len(sys.argv) > 1:
        modules = Path(sys.argv[1]) / "k8s.io"
        write("golang.json.gz", go_types(modules.parent, components))
        write("columns.json.gz", columns(modules, descriptions))


if __name__ == "__main__":
    main()
