"""Mixed load on a server that may die at any moment, and a checker of what it answered.

    Ledger     what was acknowledged, and what is in doubt because the server died before it answered
    writer     creates, changes and deletes its own objects, one request at a time, until it is told to stop
    watcher    follows the collection, resuming from the last version it saw whenever the stream breaks

What was acknowledged must be there; what is in doubt may or may not; versions only rise; every watcher sees every
acknowledged version, once, in order.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CMS = "/api/v1/namespaces/default/configmaps"
LABEL = "load"
DOWN = (aiohttp.ClientError, OSError, TimeoutError)
"""What a client sees of a server that dies."""


@dataclass
class Remote:
    """One server as a client knows it; only the process behind it changes."""

    url: str
    token: str
    context: ssl.SSLContext
    session: aiohttp.ClientSession

    @classmethod
    def of(cls, state: Path, url: str, session: aiohttp.ClientSession) -> Remote:
        context = ssl.create_default_context(cafile=str(state / "pki" / "ca.crt"))
        return cls(url, (state / "pki" / "admin.token").read_text().strip(), context, session)

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        data = None if body is None else json.dumps(body).encode()
        return self.session.request(method, self.url + path, data=data, headers=headers, ssl=self.context)

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
        async with self.request(method, path, body, kind) as answer:
            return answer.status, await answer.json(content_type=None)


@dataclass
class Ledger:
    """Per name: the last acknowledged value (None: deleted), and the values a request in doubt may have left."""

    sure: dict[str, str | None] = field(default_factory=dict)
    doubt: dict[str, set[str | None]] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    """Acknowledged versions, in the order of their answers to each writer."""
    writes: int = 0
    wrong: list[str] = field(default_factory=list)

    def acknowledged(self, name: str, value: str | None, version: int | None) -> None:
        self.writes += 1
        self.sure[name] = value
        self.doubt.pop(name, None)
        if version is not None:
            self.versions.append(version)

    def check(self, found: dict[str, str]) -> None:
        """Against a complete list, taken while nobody writes; what was in doubt is settled by it."""
        for name in self.sure.keys() | self.doubt.keys() | found.keys():
            allowed = {self.sure.get(name), *self.doubt.get(name, ())}
            if found.get(name) not in allowed:
                self.wrong.append(f"{name} is {found.get(name)!r}, not one of {sorted(map(str, allowed))}")
            self.sure[name] = found.get(name)
        self.doubt.clear()


async def write(remote: Remote, ledger: Ledger, number: int, choice: random.Random, stop: asyncio.Event) -> None:
    """One writer; it ends when told to, or when the server is gone."""
    mine = [f"w{number}-{one}" for one in range(8)]
    last = 0
    while not stop.is_set():
        name = choice.choice(mine)
        value = f"{choice.getrandbits(64):x}"
        there = ledger.sure.get(name) is not None
        labels = {LABEL: "yes"}
        if not there:
            body = {"metadata": {"name": name, "labels": labels}, "data": {"v": value, "fill": "x" * 300}}
            method, path, kind, after = "POST", CMS, "application/json", value
        elif choice.random() < 0.25:
            body, method, path, kind, after = None, "DELETE", f"{CMS}/{name}", "application/json", None
        else:
            body = {"data": {"v": value}}
            method, path, kind, after = "PATCH", f"{CMS}/{name}", "application/merge-patch+json", value
        ledger.doubt.setdefault(name, set()).add(after)
        try:
            status, answer = await remote.ask(method, path, body, kind)
        except (*DOWN, json.JSONDecodeError):
            return
        if status >= 500:
            return
        if status not in (200, 201):
            ledger.wrong.append(f"{method} {path}: {status} {answer}")
            return
        version = int(answer["metadata"]["resourceVersion"]) if after is not None else None
        if version is not None:
            if version <= last:
                ledger.wrong.append(f"{name}: version {version} after {last}")
            last = version
        ledger.acknowledged(name, after, version)


@dataclass
class Watcher:
    """Follows the load's objects over any number of deaths of the server."""

    since: int
    seen: list[int] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.seen[-1] if self.seen else self.since

    async def follow(self, remote: Callable[[], Remote]) -> None:
        while not self.wrong:
            try:
                await self._stream(remote())
            except DOWN:
                await asyncio.sleep(0.02)

    async def _stream(self, remote: Remote) -> None:
        query = f"watch=1&labelSelector={LABEL}%3Dyes&resourceVersion={self.last}"
        async with remote.request("GET", f"{CMS}?{query}") as answer:
            if answer.status != 200:
                if answer.status < 500:
                    self.wrong.append(f"watch from {self.last}: {answer.status}")
                return
            while line := await answer.content.readline():
                if not line.endswith(b"\n"):
                    return
                self._take(json.loads(line))

    def _take(self, event: dict[str, Any]) -> None:
        shown = event["object"]
        if event["type"] == "ERROR":
            self.wrong.append(f"watch from {self.last}: {shown}")
            return
        version, name = int(shown["metadata"]["resourceVersion"]), shown["metadata"]["name"]
        if version <= self.last:
            self.wrong.append(f"version {version} after {self.last}")
        if (event["type"] == "ADDED") is (name in self.state):
            self.wrong.append(f"{event['type']} of {name} at {version}, which was {self.state.get(name)!r}")
        self.seen.append(version)
        if event["type"] == "DELETED":
            self.state.pop(name, None)
        else:
            self.state[name] = shown["data"]["v"]


async def listed(remote: Remote) -> tuple[int, dict[str, str]]:
    """The load's objects and the version of the list."""
    status, answer = await remote.ask("GET", f"{CMS}?labelSelector={LABEL}%3Dyes")
    assert status == 200, answer
    items = {one["metadata"]["name"]: one["data"]["v"] for one in answer["items"]}
    return int(answer["metadata"]["resourceVersion"]), items


async def caught_up(watchers: list[Watcher], state: dict[str, str], seconds: float = 20.0) -> None:
    """Until every watcher shows the state; an error in what it saw ends the wait as well."""
    deadline = asyncio.get_running_loop().time() + seconds
    while any(one.state != state and not one.wrong for one in watchers):
        assert asyncio.get_running_loop().time() < deadline, "a watcher misses something"
        await asyncio.sleep(0.01)
