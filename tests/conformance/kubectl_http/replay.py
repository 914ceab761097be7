"""Asks our cluster exactly what kubectl asked a real one, and compares the answers.

An answer agrees when its status, and of JSON the kind and version, a refusal's reason and a table's columns are the
recorded ones; a watch when it opens, and what comes at once is an event. Names that a server makes up are carried over
from the lists both gave. Pods come and go by themselves: a list is asked again for a while until as many objects are in
it, what was deleted may still be there or be gone already, another pod of the same set stands for one that went, and a
change of a version that is no longer the newest is tried again, as kubectl does.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.conformance.load import Remote

Object = dict[str, Any]
CHOSEN = ("uid", "resourceVersion", "continue", "token")
SETTLE_SECONDS = 3.0
EVENT_SECONDS = 0.2
TRIES = 5
POD = re.compile(r"/pods/([^/?]+)")
GOING = ("delete ", "drain ")
"""Commands that wait for what they deleted to be gone."""


@dataclass
class Answer:
    status: int
    media: str = ""
    body: Any = None
    events: list[Object] = field(default_factory=list)


def records(path: Path) -> list[Object]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


class Replay:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._names: dict[str, str] = {}
        """Recorded name to ours, of what has a generated one, and of the node."""
        self._chosen: dict[str, str] = {}
        self.skipped: list[str] = []
        """Requests about pods that no list showed here: of controllers that are not there, or made meanwhile."""

    async def run(self, recorded: list[Object]) -> dict[str, list[str]]:
        """Replay all; each command with what its answers had different."""
        found: dict[str, list[str]] = {}
        for record in recorded:
            wrong = found.setdefault(record["name"], [])
            request = record["request"]
            pod = POD.search(request["path"])
            if pod and pod[1] not in self._names and pod[1] != "p1":
                self.skipped.append(f"{record['name']}: {pod[1]}")
                continue
            answer = await self._settled(record)
            self._learn(record.get("body"), answer.body)
            if difference := compare(record, answer):
                wrong.append(f"{request['method']} {request['path']}: {difference}")
        return found

    async def _settled(self, record: Object) -> Answer:
        """The answer, asked for again while a list is not as long as it was."""
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while True:
            answer = await self._ask(record)
            for _ in range(TRIES):
                if answer.status == record["status"] or not await self._meanwhile(record, answer):
                    break
                answer = await self._ask(record)
            if _as_long(record, answer) or asyncio.get_running_loop().time() > deadline:
                return answer
            await asyncio.sleep(0.1)

    async def _meanwhile(self, record: Object, answer: Answer) -> bool:
        """Learn what changed by itself since the answers a request builds on; whether there is reason to repeat."""
        request = record["request"]
        if answer.status == 409 and isinstance(request.get("body"), list):
            _, now = await self._remote.ask("GET", self._text(request["path"]).partition("?")[0])
            old = [op["value"] for op in request["body"] if op["path"] == "/metadata/resourceVersion"]
            self._chosen.update(dict.fromkeys(old, now["metadata"]["resourceVersion"]))
            return bool(old)
        pod = POD.search(request["path"])
        if answer.status == 404 and pod and pod[1] in self._names:
            family = pod[1].partition("-")[0]
            _, pods = await self._remote.ask("GET", f"{request['path'][: pod.start()]}/pods")
            found = [item["metadata"]["name"] for item in pods["items"] if _family(item["metadata"]) == family]
            self._names[pod[1]] = found[-1] if found else ""
            return bool(found)
        return False

    async def _ask(self, record: Object) -> Answer:
        request = record["request"]
        headers = {"Accept": request["accept"], "Authorization": f"Bearer {self._remote.token}"}
        data: bytes | None = None
        if "base64" in request:
            data = base64.b64decode(request["base64"])
        elif "body" in request:
            body = request["body"]
            data = (body if isinstance(body, str) else json.dumps(self._ours(body))).encode()
        if data is not None:
            headers["Content-Type"] = request["contentType"]
        url = _exact(self._remote.url + self._text(request["path"], path=True))
        async with self._remote.session.request(
            request["method"], url, headers=headers, data=data, ssl=self._remote.context
        ) as answer:
            given = Answer(answer.status, answer.content_type)
            if "watch=true" in request["path"]:
                given.events = await _events(answer)
            elif "follow=true" not in request["path"]:
                text = await answer.read()
                given.body = json.loads(text) if answer.content_type == "application/json" else text
            return given

    def _ours(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: self._ours(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._ours(inner, key) for inner in value]
        if not isinstance(value, str):
            return value
        return self._chosen.get(value, value) if key in (*CHOSEN, "value") else self._text(value)

    def _text(self, text: str, *, path: bool = False) -> str:
        for recorded, ours in self._names.items():
            text = text.replace(recorded, ours)
        if path:
            for recorded, ours in self._chosen.items():
                for key in ("resourceVersion", "continue"):
                    text = text.replace(f"{key}={recorded}&", f"{key}={ours}&")
                text = text.replace(f"uid%3D{recorded}", f"uid%3D{ours}")
        return text

    def _learn(self, recorded: Any, ours: Any) -> None:
        """Remember which of our names, versions and uids stand for the recorded ones."""
        if not isinstance(recorded, dict) or not isinstance(ours, dict):
            return
        theirs, mine = _entries(recorded), _entries(ours)
        taken = set(self._names.values())
        for entry in theirs:
            name, family = entry["name"], _family(entry)
            if family and name not in self._names:
                free = [one for one in mine if _family(one) == family and one["name"] not in taken]
                if free:
                    self._names[name] = free[-1]["name"]
                    taken.add(free[-1]["name"])
        by_name = {entry["name"]: entry for entry in mine}
        pairs = [(entry, by_name.get(self._names.get(entry["name"], entry["name"]))) for entry in theirs]
        for one, other in [(recorded.get("metadata"), ours.get("metadata")), *pairs]:
            for key in CHOSEN:
                if one and other and one.get(key) and other.get(key):
                    self._chosen[str(one[key])] = str(other[key])


def _as_long(record: Object, answer: Answer) -> bool:
    """Whether as much is there as was; how many events a server tells is its own business."""
    request, recorded = record["request"], record.get("body")
    if request["method"] != "GET" or not isinstance(recorded, dict) or "/events" in request["path"]:
        return True
    return len(_entries(recorded)) == len(_entries(answer.body))


def _entries(body: Any) -> list[Object]:
    """The metadata of what a list or a table holds, or of the object itself."""
    if not isinstance(body, dict):
        return []
    if "rows" in body:
        return [row["object"]["metadata"] for row in body["rows"] or ()]
    if "items" in body:
        return [item["metadata"] for item in body["items"] or () if "name" in (item.get("metadata") or {})]
    return [body["metadata"]] if "name" in (body.get("metadata") or {}) else []


def _family(metadata: Object) -> str:
    """What a made-up name belongs to: `web` of `web-545b4b8748-x856n`."""
    labels = metadata.get("labels") or {}
    if "kubernetes.io/hostname" in labels:
        return "node"
    made = str(metadata.get("generateName") or ("pod-template-hash" in labels and metadata["name"]) or "")
    return made.partition("-")[0]


async def _events(answer: aiohttp.ClientResponse) -> list[Object]:
    try:
        async with asyncio.timeout(EVENT_SECONDS):
            line = await answer.content.readline()
            return [json.loads(line)] if line else []
    except TimeoutError:
        return []


def compare(record: Object, answer: Answer) -> str:
    """What is different, empty when nothing is."""
    going = record["name"].startswith(GOING) and (
        record["request"]["method"] == "GET" or POD.search(record["request"]["path"])
    )
    if going and answer.status in (200, 404):
        return ""
    if record["status"] != answer.status:
        said = answer.body.get("message") if isinstance(answer.body, dict) else answer.body
        return f"{record['status']} expected, {answer.status}: {str(said)[:200]}"
    if "watch=true" in record["request"]["path"]:
        return next((f"no event: {one}" for one in answer.events if not {"type", "object"} <= one.keys()), "")
    media = record["type"].partition(";")[0]
    free = "application/vnd.kubernetes.protobuf", "text/plain" if answer.media == "application/json" else ""
    if media not in (answer.media, *free):
        return f"{media} expected, {answer.media}"
    recorded = record.get("body")
    if not isinstance(recorded, dict):
        return ""
    differences = [
        f"{one} expected, {other}"
        for one, other in zip(_marks(recorded), _marks(answer.body), strict=False)
        if one != other
    ]
    return "; ".join(differences)


def _marks(body: Any) -> Iterator[Any]:
    assert isinstance(body, dict), body
    yield f"{body.get('apiVersion')} {body.get('kind')}"
    yield body.get("reason") if body.get("kind") == "Status" else ""
    yield [column["name"] for column in body.get("columnDefinitions") or ()]


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)
