"""Writes down what kubectl asks of a real Kubernetes, and what it is answered: the data of the replay beside this file.

A proxy stands between kubectl and the API server; each exchange becomes one line of JSON in the form of the golden
records (`tests/apiserver/golden`). A watch is recorded as far as kubectl read it. Run it where KUBECONFIG names a real
cluster whose node has the images `nginx`, `nginx:2` and `nginx:3`:

    python -m tests.conformance.kubectl_http.record KUBECTL OUTPUT.jsonl.gz
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import re
import shlex
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

Object = dict[str, Any]
DATA = Path(__file__).parents[1] / "data"
STREAMS = ("exec", "cp", "attach", "port-forward")
FOLLOWS = ("get pods -w", "logs -f")
FOLLOWED_SECONDS = 2.0
LONG = 200_000
"""An answer beyond that many characters is recorded by its kind only: documents, not objects."""


def _pem(user: Object, key: str, folder: Path) -> str:
    if key in user:
        return str(user[key])
    path = folder / key
    path.write_bytes(base64.b64decode(user[f"{key}-data"]))
    return str(path)


class Proxy:
    """Passes requests on to the API server of a kubeconfig, as its user, and keeps what went through."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = str(cluster["server"])
        self._context = ssl.create_default_context(cafile=_pem(cluster, "certificate-authority", folder))
        if "token" in user:
            self._headers = {"Authorization": f"Bearer {user['token']}"}
        else:
            self._headers = {}
            self._context.load_cert_chain(_pem(user, "client-certificate", folder), _pem(user, "client-key", folder))
        self.command = ""
        self.records: list[Object] = []

    async def start(self) -> str:
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=1).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        sent = {name: value for name, value in request.headers.items() if name in ("Accept", "Content-Type")}
        headers = {**sent, "User-Agent": request.headers.get("User-Agent", ""), **self._headers}
        asked: Object = {"method": request.method, "path": request.path_qs, "accept": sent.get("Accept", "")}
        if body:
            asked["contentType"] = sent["Content-Type"]
            asked |= {"base64": base64.b64encode(body).decode()} if b"\0" in body else {"body": _parsed(body)}
        record: Object = {"section": "kubectl", "name": self.command, "request": asked}
        self.records.append(record)
        url = _exact(self._server + request.path_qs)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, ssl=self._context
        ) as answer:
            record["status"], record["type"] = answer.status, answer.headers.get("Content-Type", "")
            reply = web.StreamResponse(status=answer.status)
            for name in ("Content-Type", "Warning", "ETag"):
                if name in answer.headers:
                    reply.headers[name] = answer.headers[name]
            await reply.prepare(request)
            text = bytearray()
            try:
                async for piece in answer.content.iter_any():
                    text += piece
                    await reply.write(piece)
            except aiohttp.ClientConnectionResetError:
                pass  # kubectl has seen enough of a watch.
            finally:
                _keep(record, bytes(text))
        return reply


def _keep(record: Object, text: bytes) -> None:
    if "watch=true" in record["request"]["path"]:
        record["events"] = [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]
    elif record["type"].startswith("application/json") and len(text) < LONG:
        record["body"] = _parsed(text)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


async def _run(kubectl: str, words: list[str], server: str, work: Path, *, follow: bool = False) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(work), "KUBECONFIG": os.devnull}
    process = await asyncio.create_subprocess_exec(
        kubectl, f"--server={server}", *words, cwd=work, env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(FOLLOWED_SECONDS if follow else 40):
            out, errors = await process.communicate()
    except TimeoutError:
        process.terminate()
        out, errors = await process.communicate()
    print(f"{process.returncode}  kubectl {shlex.join(words)}  {errors.decode().strip()[:150]}", file=sys.stderr)
    return out.decode()


async def main(kubectl: str, output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for manifest in DATA.glob("*.yaml"):
            (work / manifest.name).write_bytes(manifest.read_bytes())
        proxy = Proxy(Path(os.environ["KUBECONFIG"]), work)
        server = await proxy.start()
        for line in (DATA / "kubectl-commands.txt").read_text().splitlines():
            if line.split()[0] in STREAMS:
                continue
            proxy.command = re.sub(r"\s+", " ", line)
            for place, words in {
                "{node}": "get nodes -o name",
                "{pod}": "get pods -l app=web --field-selector=status.phase=Running -o name",
            }.items():
                if place in line:
                    found = (await _run(kubectl, words.split(), server, work)).split("\n")[0]
                    line = line.replace(place, found.partition("/")[2])
            await _run(kubectl, shlex.split(line), server, work, follow=line.startswith(FOLLOWS))
        await proxy.stop()
        with gzip.GzipFile(output, "wb", mtime=0) as out:
            for record in proxy.records:
                out.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
