"""A token that ended is read again, without a request lost."""

from __future__ import annotations

from typing import Any

import pytest
from kaos_operator.connection import Renewing

from kaos_ext.kube.objects import PODS, ApiError, Object

ENDED = ApiError({"code": 401, "message": "Unauthorized"})


class Client:
    """Accepts the newest token only."""

    newest = 0

    def __init__(self, token: int) -> None:
        self.token, self.closed = token, False

    async def create(self, resource: Any, object: Object, namespace: str | None) -> Object:
        if self.token != Client.newest:
            raise ENDED
        return object

    async def close(self) -> None:
        self.closed = True


class Tokens:
    def __init__(self) -> None:
        self.file = 0
        self.clients: list[Client] = []

    async def connect(self) -> Any:
        self.clients.append(Client(self.file))
        return self.clients[-1]


async def test_a_request_that_is_refused_is_sent_again_with_the_token_of_now() -> None:
    tokens = Tokens()
    api = Renewing(tokens.connect)
    Client.newest = 0
    await api.create(PODS, {"n": 1}, "demo")
    Client.newest = tokens.file = 1
    assert await api.create(PODS, {"n": 2}, "demo") == {"n": 2}
    assert [client.closed for client in tokens.clients] == [True, False]


async def test_a_token_that_stays_wrong_is_an_error_and_not_a_loop() -> None:
    tokens = Tokens()
    Client.newest = 7
    with pytest.raises(ApiError, match="Unauthorized"):
        await Renewing(tokens.connect).create(PODS, {}, "demo")
    assert len(tokens.clients) == 2
