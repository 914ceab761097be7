"""Requests made up from the server's own OpenAPI: right ones, almost right ones, and garbage.

A body is grown from the schema of the operation and then, sometimes, spoiled: a value of another type, a member too
many, a deep nest, text that is no JSON. Nothing may be answered with an error of the server's own, nothing may hang.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.conformance.load import Remote

PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
NAMES = ("a", "b", "default", "x.y", "-bad-", "A", "kubernetes", "é", "a" * 254)
WORDS = (
    "",
    "a",
    "v1",
    "0",
    "-1",
    "1Gi",
    "100m",
    "x" * 300,
    "\u0000",
    "a/b",
    "50%",
    "2026-01-01T00:00:00Z",
    "*",
    "null",
)
NUMBERS = (0, 1, -1, 80, 2**31, 2**63, -(2**63), 1.5, 10**30)
FOLLOWING = re.compile(r"/(log|exec|attach|portforward|proxy)(/|$)|/watch/")
"""Paths that stream or go elsewhere: they have tests of their own."""
SECONDS = 20.0
MEANT = (
    "strconv.ParseUint",
    "resourceVersion should not be set on objects to be created",
    "does not contain declared merge key",
    "$patch",
    "target.name: Required value",
    "target.kind: Unsupported value",
)
"""Words of the errors 500 that a real server answers as well."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    schema: Any
    components: dict[str, Any]


@dataclass
class Fuzz:
    remote: Remote
    choice: random.Random
    operations: list[Operation] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    async def learn(self) -> None:
        """All operations of all documents."""
        _, index = await self.remote.ask("GET", "/openapi/v3")
        for one in index["paths"].values():
            _, document = await self.remote.ask("GET", one["serverRelativeURL"])
            components = document["components"]["schemas"]
            for path, item in document["paths"].items():
                if FOLLOWING.search(path):
                    continue
                for method in ("get", "post", "put", "patch", "delete"):
                    if method in item:
                        content = (item[method].get("requestBody") or {}).get("content") or {}
                        schema = next((kind.get("schema") for kind in content.values()), None)
                        self.operations.append(Operation(method.upper(), path, schema, components))
        assert len(self.operations) > 200

    async def run(self, requests: int, clients: int = 8) -> None:
        left = iter(range(requests))

        async def client() -> None:
            for _ in left:
                await self._one()
                if len(self.wrong) > 20:
                    return

        await asyncio.gather(*(client() for _ in range(clients)))

    async def _one(self) -> None:
        operation = self.choice.choice(self.operations)
        path = operation.path.replace("{namespace}", self.choice.choice(("fuzz",) * 9 + ("missing",)))
        path = re.sub(r"\{\w+\}", lambda _: self.choice.choice(NAMES[:2] * 6 + NAMES), path)
        query = "&".join(f"{key}={value}" for key, value in self._query(operation.method))
        headers = {"Authorization": f"Bearer {self.remote.token}", "Accept": self._accept()}
        data = None
        if operation.method != "GET":
            headers["Content-Type"] = self._kind(operation.method)
            data = self._body(operation)
        kinds = f"{headers['Accept']} {headers.get('Content-Type')}"
        shown = f"{operation.method} {path}?{query} {kinds} {(data or b'')[:600]!r}"
        try:
            async with asyncio.timeout(SECONDS):
                async with self.remote.session.request(
                    operation.method,
                    f"{self.remote.url}{path}?{query}",
                    data=data,
                    headers=headers,
                    ssl=self.remote.context,
                ) as answer:
                    text = await answer.text(errors="replace")
        except TimeoutError:
            self.wrong.append(f"hangs: {shown}")
            return
        except aiohttp.ServerDisconnectedError:
            return  # a kept connection may end between two requests; a server that died fails all that follow
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 500 and not any(word in text for word in MEANT):
            self.wrong.append(f"{shown} → {text[:300]}")

    def _accept(self) -> str:
        table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
        return self.choice.choice(("application/json",) * 6 + ("*/*", table, partial, "text/nonsense"))

    def _kind(self, method: str) -> str:
        if method == "PATCH":
            return self.choice.choice(PATCHES)
        return self.choice.choice(
            ("application/json",) * 6 + ("application/yaml", "application/vnd.kubernetes.protobuf")
        )

    def _query(self, method: str) -> list[tuple[str, str]]:
        choice = self.choice
        offered = {
            "limit": ("0", "1", "-1", "x"),
            "continue": ("", "garbage", "e30"),
            "resourceVersion": ("", "0", "1", "x", "99999999"),
            "resourceVersionMatch": ("Exact", "NotOlderThan", "x"),
            "labelSelector": ("a=b", "a in (b,c)", "!a", "=", "a=b=c"),
            "fieldSelector": ("metadata.name=a", "spec.x=1", "metadata.name", "status.phase!=Running"),
            "dryRun": ("All", "x"),
            "fieldManager": ("me", "x" * 200),
            "fieldValidation": ("Strict", "Warn", "Ignore", "x"),
            "force": ("true", "x"),
            "propagationPolicy": ("Orphan", "Foreground", "Background", "x"),
            "gracePeriodSeconds": ("0", "-1", "x"),
        }
        if method == "GET":
            offered |= {"watch": ("true", "x"), "timeoutSeconds": ("1",), "sendInitialEvents": ("true",)}
        chosen = [
            (key, choice.choice(offered[key])) for key in choice.sample(sorted(offered), choice.choice((0, 0, 0, 1, 2)))
        ]
        if any(key == "watch" for key, _ in chosen):
            chosen = [*(one for one in chosen if one[0] != "timeoutSeconds"), ("timeoutSeconds", "1")]
        return chosen

    def _body(self, operation: Operation) -> bytes:
        choice = self.choice
        if choice.random() < 0.03:
            return choice.choice((b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"k8s\x00\x0a\x02", b"{" * 400))
        if choice.random() < 0.02:
            return b'{"a":' * 3000 + b"1" + b"}" * 3000
        body = self._value(operation.schema or {}, operation.components, 0, choice.choice((0.0, 0.05)))
        if operation.method == "PATCH" and choice.random() < 0.3:
            verb = choice.choice(("add", "remove", "replace", "test", "move", "copy", "x"))
            places = ("/metadata/labels", "/spec", "/spec/x/-", "", "/metadata/name", "x")
            body = [{"op": verb, "path": choice.choice(places), "from": "/spec", "value": choice.choice(NUMBERS)}]
        if isinstance(body, dict) and choice.random() < 0.7:
            body.setdefault("metadata", {})
            if isinstance(body["metadata"], dict):
                body["metadata"] = {**body["metadata"], "name": choice.choice(NAMES[:2])}
                for key in ("namespace", "resourceVersion", "uid", "finalizers", "deletionTimestamp"):
                    if choice.random() < 0.8:
                        body["metadata"].pop(key, None)
        return json.dumps(body).encode()

    def _value(self, schema: Any, components: dict[str, Any], depth: int, spoil: float) -> Any:
        choice = self.choice
        if choice.random() < spoil:
            return choice.choice((None, True, [], {}, [None], {"": 1}, *WORDS, *NUMBERS))
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref") or next((one["$ref"] for one in schema.get("allOf", ()) if "$ref" in one), None)
        if reference is not None:
            return self._value(components.get(reference.rpartition("/")[2], {}), components, depth + 1, spoil)
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return self._members(schema, components, depth, spoil)
        if kind == "array":
            count = choice.randrange(3) if depth < 12 else 0
            return [self._value(schema.get("items"), components, depth + 1, spoil) for _ in range(count)]
        if kind == "integer":
            return choice.choice(NUMBERS if spoil else NUMBERS[:4])
        if kind == "boolean":
            return choice.random() < 0.5
        return choice.choice(schema.get("enum") or (WORDS if spoil else WORDS[1:7]))

    def _members(self, schema: dict[str, Any], components: dict[str, Any], depth: int, spoil: float) -> dict[str, Any]:
        choice = self.choice
        required = set(schema.get("required") or ())
        made = {
            name: self._value(child, components, depth + 1, spoil)
            for name, child in (schema.get("properties") or {}).items()
            if name in required or choice.random() < (0.5 if depth < 3 else 0.15)
        }
        if isinstance(schema.get("additionalProperties"), dict):
            made |= {
                choice.choice(WORDS): self._value(schema["additionalProperties"], components, depth + 1, spoil)
                for _ in range(choice.randrange(3))
            }
        if choice.random() < spoil:
            made[choice.choice(WORDS)] = choice.choice(NUMBERS)
        return made
