"""Make the table of protobuf messages: `python -m kaos_ext.cluster.apiserver.wire.generate GO_MODULE_CACHE`.

Reads every `generated.proto` of k8s.io/{api,apimachinery,apiextensions-apiserver,kube-aggregator}. The table maps a
message's full name to its fields: number → [name in JSON, type, 1 when repeated].
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

VERSION = "v0.36.3"
MODULES = ("api", "apimachinery", "apiextensions-apiserver", "kube-aggregator")
_PACKAGE = re.compile(r"^package ([\w.]+);", re.M)
_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.S | re.M)
_MAP = re.compile(r"^  map<(\w+), ?([\w.]+)> (\w+) = (\d+)", re.M)
_SCHEMA_NAMES = {"schema": "$schema", "ref": "$ref"}

Table = dict[str, dict[str, list[str | int]]]


def messages(text: str) -> Table:
    package = _PACKAGE.search(text)
    assert package is not None
    found: Table = {}
    for name, body in _MESSAGE.findall(text):
        fields: dict[str, list[str | int]] = {}
        for many, kind, field, number in re.findall(r"^  (optional|repeated) ([\w.]+) (\w+) = (\d+)", body, re.M):
            fields[number] = [_json_name(name, field), kind.lstrip("."), int(many == "repeated")]
        for key, value, field, number in _MAP.findall(body):
            fields[number] = [_json_name(name, field), f"map<{key},{value.lstrip('.')}>", 0]
        found[f"{package[1]}.{name}"] = fields
    return found


def _json_name(message: str, field: str) -> str:
    if message != "JSONSchemaProps":
        return field
    if field.startswith("xKubernetes"):
        return re.sub(r"[A-Z]", lambda letter: "-" + letter[0].lower(), field)
    return _SCHEMA_NAMES.get(field, field)


def main() -> None:
    table: Table = {}
    for module in MODULES:
        for file in sorted((Path(sys.argv[1]) / "k8s.io" / f"{module}@{VERSION}").rglob("generated.proto")):
            if "test" not in file.parts[-2]:
                table |= messages(file.read_text())
    text = json.dumps(table, separators=(",", ":"), sort_keys=True)
    target = Path(__file__).parent.parent / "data" / "protobuf.json.gz"
    target.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
