"""A browser without a window, driven by the W3C WebDriver protocol: just what looking at JupyterLab needs.

Also a script: `python -m tests.notebook.browser NOTEBOOK.ipynb FOLDER` opens a notebook in a JupyterLab of its own
(as it is; `--run` runs all cells first) and leaves pictures of it, light and dark.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE = 60.0
OWN = (
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "IPYTHONDIR",
)
"""Settings of the person who runs this stay out."""


def until(what: str, reached: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true value of `reached`; a condition with a deadline instead of a sleep."""
    deadline = time.monotonic() + seconds
    while True:
        value = reached()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


class Browser:
    def __init__(self, address: str) -> None:
        self._address = address
        options = {
            "binary": shutil.which("chromium"),
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu"],
        }
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        self._session = self._call("POST", "/session", {"capabilities": capabilities})["sessionId"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from None

    def _on(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, f"/session/{self._session}{path}", body)

    def open(self, url: str) -> None:
        self._on("POST", "/url", {"url": url})

    def size(self, width: int, height: int) -> None:
        self._on("POST", "/window/rect", {"width": width, "height": height})

    def run(self, script: str, *args: Any) -> Any:
        return self._on("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait_for(self, script: str, seconds: float = DEADLINE) -> Any:
        """Until the script returns something true."""
        return until(script, lambda: self.run(script), seconds)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._on("GET", "/screenshot")))

    def close(self) -> None:
        self._on("DELETE", "")


@contextmanager
def browser() -> Iterator[Browser]:
    port = free_port()
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("chromedriver answers", lambda: _answers(f"http://127.0.0.1:{port}/status"))
        made = Browser(f"http://127.0.0.1:{port}")
        try:
            yield made
        finally:
            made.close()
    finally:
        driver.terminate()
        driver.wait(10)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


@contextmanager
def lab(folder: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """A JupyterLab on `folder` with settings of its own; the address with its token."""
    port, token = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="lab-") as private:
        own = {name: f"{private}/{name}" for name in OWN}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        command += [f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]
        server = subprocess.Popen(
            command, env={**os.environ, **own, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until("JupyterLab answers", lambda: _answers(f"http://127.0.0.1:{port}/api/status?token={token}"))
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
        finally:
            server.terminate()
            server.wait(20)


class Lab:
    """One notebook open in JupyterLab."""

    def __init__(self, browser: Browser, address: str, notebook: str) -> None:
        self.browser = browser
        browser.open(address.format(notebook))
        browser.wait_for("return window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell') !== null")
        browser.wait_for(f"return {_KERNEL} === 'idle'")

    def command(self, name: str, **args: Any) -> None:
        self.browser.run("window.jupyterapp.commands.execute(arguments[0], arguments[1])", name, args)

    def run_all(self, seconds: float = 180) -> None:
        """Run every cell and wait until the last one is done."""
        self.command("notebook:run-all-cells")
        prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(p => p.textContent)"
        failed = "document.querySelector('.jp-OutputArea-output [data-mime-type*=error], [data-mime-type*=error]')"
        done = f"({prompts}).every(p => /[0-9]/.test(p)) || {failed}"
        self.browser.wait_for(f"return {_KERNEL} === 'idle' && ({done})", seconds)

    def theme(self, name: str) -> None:
        self.command("apputils:change-theme", theme=name)
        light = "true" if "Light" in name else "false"
        self.browser.wait_for(f"return document.body.dataset.jpThemeLight === '{light}'")
        self.browser.wait_for("return document.querySelector('.jp-Splash, #jupyterlab-splash') === null")

    def outputs(self) -> list[str]:
        """The text of each output, as a reader sees it."""
        texts: list[str] = self.browser.run(
            "return [...document.querySelectorAll('.jp-OutputArea-output')].map(o => o.innerText)"
        )
        return texts

    def picture(self, path: Path, *, part: str = ".jp-OutputArea-output", index: int = 0) -> None:
        self.browser.run(
            "const found = document.querySelectorAll(arguments[0])[arguments[1]];"
            "if (found) found.scrollIntoView({block: 'start'})",
            part,
            index,
        )
        self.browser.picture(path)


_KERNEL = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"


def main() -> None:
    parser = argparse.ArgumentParser(description="pictures of a notebook in JupyterLab")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--height", type=int, default=2400)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with lab(args.notebook.parent.resolve()) as address, browser() as window:
        window.size(1300, args.height)
        page = Lab(window, address, args.notebook.name)
        if args.run:
            page.run_all()
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            page.theme(theme)
            window.run("document.querySelector('.jp-WindowedPanel-outer')?.scrollTo(0, 0)")
            path = args.folder / f"{args.notebook.stem}-{theme.split()[1].lower()}.png"
            window.picture(path)
            print(path)
        for index, text in enumerate(page.outputs()):
            print(f"--- output {index}\n{text[:400]}")


if __name__ == "__main__":
    main()
