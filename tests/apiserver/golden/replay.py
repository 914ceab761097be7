"""Replays recorded requests to a real Kubernetes 1.36.3 against our server, in their order, and judges the answers.

A record agrees when status code and reason (of a Status) are the recorded ones, or, for a watch, the types and names of
its events. What a server chooses itself (uids, versions, tokens) is carried over from our own earlier answers into
later requests. `python -m tests.apiserver.golden.replay KUBECONFIG` does it to any running server, and prints misses.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

Object = dict[str, Any]
DATA = Path(__file__).parent / "data"
RECORDS, BESIDE = DATA / "golden.jsonl.gz", DATA / "beside.jsonl.gz"
"""What was recorded once, and what both servers were asked side by side."""
CHOSEN = frozenset({"resourceVersion", "uid", "continue", "token"})
_ANSWER_SECONDS, _SETTLED_SECONDS, _AGAIN_SECONDS = 6.0, 2.0, 0.02
_SETTLES = re.compile(r"crd|dep status|orphan|collected|cr openapi|terminating|clu defaulted")
"""Records that look at what a server does by itself after an answer: they are asked again until it has done it."""


T = TypeVar("T")


async def _patiently(look: Callable[[], Awaitable[T]], right: Callable[[T], bool]) -> T:
    """What is seen as soon as it is right, or at the deadline."""
    deadline = asyncio.get_running_loop().time() + _SETTLED_SECONDS
    while not right(seen := await look()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_AGAIN_SECONDS)
    return seen


def records(source: Path = RECORDS) -> list[Object]:
    with gzip.open(source, "rt") as lines:
        found = [json.loads(line) for line in lines]
    return [one for one in found if not _described(one["request"].get("body"))]


def _described(body: Any) -> bool:
    """A body that was too long to record, told in words."""
    return isinstance(body, str) and body.startswith(("a ConfigMap with", "bytes "))


@dataclass
class Share:
    total: int = 0
    agree: int = 0
    messages: int = 0
    misses: list[str] = field(default_factory=list)
    wordings: list[str] = field(default_factory=list)
    """Answers that agree but for their words."""

    @property
    def percent(self) -> float:
        return 100 * self.agree / self.total if self.total else 0.0

    def __str__(self) -> str:
        worded = 100 * self.messages / self.total if self.total else 0.0
        return f"status and reason {self.percent:.1f} %, with message {worded:.1f} %, of {self.total}"


@dataclass
class Replay:
    url: str
    token: str
    session: aiohttp.ClientSession
    context: ssl.SSLContext
    chosen: dict[str, str] = field(default_factory=dict)

    async def run(self, *, watches: bool = True, source: Path = RECORDS) -> Share:
        share = Share()
        for record in records(source):
            if "events" in record and not watches:
                continue
            status, answer, warnings, miss = await self._settled(record)
            if _defines(record) and status == 201:
                await self._established(answer["metadata"]["name"])
            self._learn(record.get("body"), answer)
            share.total += 1
            if miss:
                share.misses.append(f"[{record.get('section') or 'start'}] {record['name']}: {miss}")
            else:
                share.agree += 1
                worded = _message(record.get("body")) == _message(answer)
                warned = record.get("warnings") is None or warnings == record["warnings"]
                share.messages += worded and warned
                if not (worded and warned):
                    share.wordings.append(
                        f"[{record.get('section')}] {record['name']}: {answer if not worded else warnings}"
                    )
        return share

    async def _settled(self, record: Object) -> tuple[int, Any, list[str], str]:
        """The answer, and what is different in it; of what may take a moment, the first that agrees."""
        takes_a_moment = record["request"]["method"] == "GET" and "events" not in record
        patient = takes_a_moment and _SETTLES.search(record["name"]) is not None

        async def ask() -> tuple[int, Any, list[str], str]:
            status, answer, warnings = await self._ask(record)
            return status, answer, warnings, _difference(record, status, answer)

        return await _patiently(ask, lambda asked: not (asked[-1] and patient))

    async def _established(self, name: str) -> None:
        """Until a new kind is served."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        headers = {"Authorization": f"Bearer {self.token}"}

        async def conditions() -> list[Object]:
            async with self.session.get(self.url + path, headers=headers, ssl=self.context) as answer:
                return list(((await answer.json()).get("status") or {}).get("conditions") or [])

        # One whose names are taken never is.
        await _patiently(
            conditions, lambda found: any(one["type"] == "Established" or one["status"] == "False" for one in found)
        )

    async def _ask(self, record: Object) -> tuple[int, Any, list[str]]:
        request = record["request"]
        headers = {"Accept": request.get("accept", "application/json"), "User-Agent": "python-requests/2"}
        headers["Authorization"] = f"Bearer {self.token}"
        headers |= request.get("headers") or {}
        if request.get("token"):
            headers["Authorization"] = "Bearer " + self.chosen.get(request["token"], "")
        if not headers["Authorization"]:
            del headers["Authorization"]
        body = request.get("body")
        data: bytes | None = None
        if body is not None:
            headers["Content-Type"] = request.get("contentType", "application/json")
            data = (body if isinstance(body, str) else json.dumps(self._replaced(body))).encode()
        url = self.url + self._path(request["path"])
        async with self.session.request(
            request["method"], _exact(url), headers=headers, data=data, ssl=self.context
        ) as answer:
            if "events" in record:
                return answer.status, await self._events(answer, len(record["events"])), []
            text = await answer.text(errors="replace")
            try:
                return answer.status, json.loads(text), answer.headers.getall("Warning", [])
            except ValueError:
                return answer.status, text, []

    async def _events(self, answer: aiohttp.ClientResponse, count: int) -> list[Object]:
        seen: list[Object] = []
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while len(seen) < max(count, 1) and (line := await answer.content.readline()):
                    seen.append(json.loads(line))
        except (TimeoutError, ValueError):
            pass
        return seen

    def _path(self, path: str) -> str:
        for recorded, ours in self.chosen.items():
            if len(recorded) > 20 or re.search(rf"resourceVersion={re.escape(recorded)}(&|$)", path):
                path = path.replace(recorded, ours)
        return path

    def _replaced(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: self._replaced(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self._replaced(v, key) for v in value]
        return self.chosen.get(value, value) if isinstance(value, str) and key in {*CHOSEN, "value"} else value

    def _learn(self, recorded: Any, ours: Any) -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            for key in recorded.keys() & ours.keys():
                one, other = recorded[key], ours[key]
                if key in CHOSEN and isinstance(one, str) and isinstance(other, str) and one:
                    self.chosen[one] = other
                else:
                    self._learn(one, other)
        elif isinstance(recorded, list) and isinstance(ours, list):
            for one, other in zip(recorded, ours, strict=False):
                self._learn(one, other)


def _defines(record: Object) -> bool:
    request = record["request"]
    return request["method"] == "POST" and bool(request["path"].endswith("/customresourcedefinitions"))


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url.replace(" ", "+"), encoded=True)


def _difference(record: Object, status: int, answer: Any) -> str:
    expected = record.get("status") or 200
    if expected != status:
        return f"{expected} expected, {status}: {json.dumps(answer)[:160]}"
    if "events" in record:
        one, other = list(_shape(record["events"])), list(_shape(answer))
        return "" if one == other else f"{one} expected, {other}"
    recorded = record.get("body")
    if isinstance(recorded, dict) and recorded.get("kind") == "Status":
        reason = answer.get("reason") if isinstance(answer, dict) else None
        if recorded.get("reason") != reason:
            return f"{recorded.get('reason')} expected, {reason}"
    return ""


def _shape(events: list[Object]) -> Iterator[tuple[Any, Any]]:
    for event in events:
        if "client" not in event:
            about = event.get("object") or {}
            name = (about.get("metadata") or {}).get("name") or about.get("reason")
            yield event.get("type") or event.get("reason") or event.get("kind"), name


def _message(body: Any) -> Any:
    """A refusal's words without the numbers and names of the moment, its parts in any order."""
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return None
    text = re.sub(
        r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(current|version): \d+|\(\d+\)", "*", str(body.get("message"))
    )
    return sorted(re.split(r"[,\[\]]\s*", re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "*", text)))


async def _main(kubeconfig: str) -> int:
    config = json.loads(Path(kubeconfig).read_text())  # noqa: ASYNC240
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    async with aiohttp.ClientSession() as session:
        share = await Replay(cluster["server"], user["token"], session, context).run()
    sys.stdout.write("\n".join([*share.misses, str(share), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1])))
