"""Whatever is sent, the answer says what is wrong with it; it is never a failure of the server's own."""

from __future__ import annotations

import copy
import random
from typing import Any

from tests.apiserver.conftest import CMS, Http
from tests.apiserver.golden.replay import Replay, records

GARBAGE = [None, [], {}, "", 0, -1, "x", True, [None], [{}], {"a": None}, 1.5, ["a", 1], {"": ""}, "a/b", 10**20]
FAILED = "the server failed"


def spoiled(body: Any, chance: random.Random) -> Any:
    """A copy of the body in which one or two members are garbage."""
    body = copy.deepcopy(body)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in members:
            places.append((value, key))
            walk(one)

    walk(body)
    for _ in range(chance.randint(1, 2)):
        if places:
            container, key = chance.choice(places)
            container[key] = copy.deepcopy(chance.choice(GARBAGE))
    return body


async def test_spoiled_bodies_of_every_kind_are_refused_or_taken(http: Http) -> None:
    await Replay(http.url, http.token, http.session, http.context).run(watches=False)
    chance = random.Random(7)
    failed: list[str] = []
    for record in records():
        request = record["request"]
        if not isinstance(request.get("body"), dict | list) or request["method"] == "DELETE":
            continue
        body = spoiled(request["body"], chance)
        kind = request.get("contentType", "application/json")
        path = request["path"].replace(" ", "+")
        answer = await http(request["method"], path, body, content_type=kind)
        if answer.status >= 500 and FAILED in str(answer.body):
            failed.append(f"{request['method']} {path} {body}")
    assert failed == []


async def test_queries_that_make_no_sense_are_refused(http: Http) -> None:
    for query in (
        "limit=x",
        "continue=%00",
        "continue=e30",
        "resourceVersion=x",
        "labelSelector=%3D%3D",
        "fieldSelector=a",
        "timeoutSeconds=x&watch=1",
        "watch=1&resourceVersion=x",
        "resourceVersionMatch=Exact",
    ):
        answer = await http.get(f"{CMS}?{query}")
        assert answer.status >= 400, query
        assert answer.body["kind"] == "Status", query
        assert FAILED not in str(answer.body), query
