"""One POST and its whole answer: whatever form of HTTP it comes in, and however it does not come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from yarl import URL

from kaos_ext.runtime.agent import wire as module
from kaos_ext.runtime.agent.wire import Answered, BrokenOff, NotReached, TooLate, Wire


class Server:
    """Answers each request of each connection with the next of some texts, sent as they are cut here."""

    def __init__(
        self, *answers: bytes | list[bytes], then: Callable[[asyncio.StreamWriter], None] | None = None
    ) -> None:
        self._answers = list(answers)
        self._then = then
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self._then is not None:
                    return self._then(writer)
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()
        return None


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[tuple[Wire, URL]]:
    wire = Wire()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield wire, URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x?y=1")
    finally:
        wire.close()
        listening.close()
        await listening.wait_closed()


async def post(wire: Wire, url: URL, seconds: float = 5, **headers: str) -> Answered:
    return await wire.post(url, b"{}", headers, seconds=seconds)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;extension=1\r\nlo\r\n0\r\nTrailer: yes\r\n\r\n"
)


async def test_a_request_is_one_post_with_its_headers_and_its_length() -> None:
    server = Server(OK)
    async with serving(server) as (wire, url):
        answered = await wire.post(url, b'{"a": "\xc3\xbc"}', {"MCP-Method": "tools/call"}, seconds=5)
    assert (answered.status, answered.body) == (200, b"hello")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /x?y=1 HTTP/1.1", f"Host: 127.0.0.1:{url.port}".encode(), b"Content-Type: application/json",
        b"MCP-Method: tools/call", b"Content-Length: 11",
    ]  # fmt: skip
    assert body == b'{"a": "\xc3\xbc"}'


@pytest.mark.parametrize(
    "answer", [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + OK], ids=["length", "chunks", "100"]
)
@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
async def test_an_answer_is_read_however_it_is_written_and_cut_and_the_connection_is_kept(
    answer: bytes, cut: int
) -> None:
    pieces = [answer[at : at + cut] for at in range(0, len(answer), cut)]
    server = Server(pieces, pieces, pieces)
    async with serving(server) as (wire, url):
        for _ in range(3):
            assert (await post(wire, url)).body == b"hello"
    assert server.connections == 1


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    server = Server(b"HTTP/1.0 500 Oh\r\nRetry-After: 7\r\n\r\nbroken", then=lambda writer: writer.close())
    async with serving(server) as (wire, url):
        answered = await post(wire, url)
    assert (answered.status, answered.body, answered.headers["retry-after"]) == (500, b"broken", "7")


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", OK + b"more"],
    ids=["close", "more"],
)
async def test_a_connection_that_cannot_be_trusted_any_more_is_not_used_again(answer: bytes) -> None:
    server = Server(answer, OK)
    async with serving(server) as (wire, url):
        await post(wire, url)
        assert (await post(wire, url)).body == b"hello"
    assert server.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_SECONDS", 0)
    server = Server(OK, OK)
    async with serving(server) as (wire, url):
        await post(wire, url)
        await post(wire, url)
    assert server.connections == 2


async def test_requests_side_by_side_have_connections_of_their_own() -> None:
    server = Server(*[OK] * 4)
    async with serving(server) as (wire, url):
        await asyncio.gather(*(post(wire, url) for _ in range(3)))
        await post(wire, url)
    assert server.connections == 3


@pytest.mark.parametrize(
    ("answer", "words", "began"),
    [
        (b"", "closed the connection", False),
        (b"HTTP/1.1 20", "closed the connection", True),
        (OK[:-2], "closed the connection", True),
        (CHUNKED[:-9], "closed the connection", True),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP: Expected HTTP/", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no HTTP: Invalid character in Content-Length", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "its transfer encoding", True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "no HTTP: Invalid character in chunk size",
            True,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "no HTTP: Expected LF after chunk data",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "no HTTP: Invalid header token", True),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "its head is longer", True),
    ],
)
async def test_what_is_no_whole_answer_is_told_and_whether_it_had_begun(answer: bytes, words: str, began: bool) -> None:
    server = Server(answer, then=lambda writer: writer.close())
    async with serving(server) as (wire, url):
        with pytest.raises(BrokenOff, match=words) as raised:
            await post(wire, url)
    assert raised.value.began is began and not isinstance(raised.value, TooLate)
    assert len(server.requests) == 1, "it may have been taken: it is not sent again"


async def test_an_answer_that_does_not_come_in_time_is_not_taken_for_the_next_one() -> None:
    server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"], OK)
    async with serving(server) as (wire, url):
        with pytest.raises(TooLate) as raised:
            await post(wire, url, 0.05)
        assert raised.value.began
        assert (await post(wire, url)).body == b"hello"
    assert server.connections == 2


async def test_a_request_that_is_cancelled_ends_its_connection() -> None:
    server = Server([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"], OK)
    async with serving(server) as (wire, url):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(wire, url), 0.05)
        assert (await post(wire, url)).body == b"hello"


async def test_a_server_that_is_not_there_was_not_reached() -> None:
    with pytest.raises(NotReached):
        await post(Wire(), URL("http://127.0.0.1:9/x"))


async def test_a_redirect_that_keeps_the_method_is_followed_and_one_in_circles_is_not() -> None:
    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/mcp/")

    async def here(request: web.Request) -> web.Response:
        return web.json_response({"got": await request.json()})

    async def around(request: web.Request) -> web.Response:
        raise web.HTTPPermanentRedirect("/around")

    app = web.Application()
    app.router.add_post("/mcp", moved)
    app.router.add_post("/mcp/", here)
    app.router.add_post("/around", around)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    at, wire = URL(f"http://127.0.0.1:{runner.addresses[0][1]}"), Wire()
    try:
        assert (await post(wire, at / "mcp")).body == b'{"got": {}}'
        with pytest.raises(BrokenOff, match="redirects"):
            await post(wire, at / "around")
    finally:
        wire.close()
        await runner.cleanup()


async def test_a_header_of_two_lines_is_not_sent() -> None:
    server = Server(OK)
    async with serving(server) as (wire, url):
        with pytest.raises(ValueError, match="more than one line"):
            await wire.post(url, b"{}", {"MCP-Name": "a\r\nX-Admin: yes"}, seconds=5)
    assert server.connections == 0


async def test_a_name_and_password_in_the_url_are_sent_as_credentials() -> None:
    server = Server(OK)
    async with serving(server) as (wire, url):
        await post(wire, url.with_user("me").with_password("secret"))
    assert b"Authorization: Basic bWU6c2VjcmV0\r\n" in server.requests[0]
