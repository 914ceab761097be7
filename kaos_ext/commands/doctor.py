"""`kaos doctor`: what this machine and the current cluster offer, each with what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from kaos_ext import __version__
from kaos_ext.commands.cluster import ISOLATION, embedded
from kaos_ext.commands.failures import is_installed
from kaos_ext.commands.result import Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.system import get_or_none, operator_ready
from kaos_ext.kube.objects import DEPLOYMENTS
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError
from kaos_ext.views import Card, Line, Tone

LIBRARIES = ("aiohttp", "kopf", "kubernetes", "mcp", "pydantic", "ipython", "ipywidgets")
ENOUGH_BYTES = 500_000_000


class Finding(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


TONE = {Finding.GOOD: Tone.DONE, Finding.NOTE: Tone.WAITING, Finding.BAD: Tone.FAILED}


@dataclass(frozen=True)
class Check:
    name: str
    finding: Finding
    detail: str
    hint: str = ""


async def doctor(session: Session) -> Result:
    checks = [*_machine(), await _kubectl(), *await _clusters(), *await _current(session)]
    bad = [check for check in checks if check.finding is Finding.BAD]
    lines = tuple(Line(TONE[check.finding], check.name, check.detail, check.hint) for check in checks)
    state = f"{len(bad)} to mend" if bad else "all well"
    card = Card("doctor", f"kaos {__version__}", state, Tone.FAILED if bad else Tone.DONE, (), lines)
    return Result(card, {"ok": not bad, "checks": [asdict(check) for check in checks]}, status=1 if bad else 0)


def _machine() -> list[Check]:
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} processors"
    known = sys.platform == "linux"
    checks = [
        Check("python", Finding.GOOD, f"{platform.python_version()} at {sys.executable}"),
        Check("system", Finding.GOOD if known else Finding.NOTE, system, "" if known else "only Linux is tested"),
        Check("isolation", Finding.NOTE, f"pods of the embedded cluster are {ISOLATION}"),
    ]
    versions, missing = [], []
    for library in LIBRARIES:
        try:
            versions.append(f"{library} {importlib.metadata.version(library)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(library)
    checks.append(Check("libraries", Finding.GOOD, ", ".join(versions)))
    if missing:
        checks.append(Check("missing", Finding.BAD, ", ".join(missing), f"pip install {' '.join(missing)}"))
    return [*checks, _disk()]


def _disk() -> Check:
    from kaos_ext.cluster.config import check_place
    from kaos_ext.commands.cluster import home

    folder = home()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if not os.access(nearest, os.W_OK):
        return Check("home", Finding.BAD, f"{folder} cannot be written", "set KAOS_HOME to a folder that can")
    try:
        check_place(folder)
    except KaosError as error:
        return Check("home", Finding.BAD, error.message, error.hint)
    enough = free > ENOUGH_BYTES
    hint = "" if enough else "free some space, or set KAOS_HOME"
    return Check("home", Finding.GOOD if enough else Finding.BAD, f"{folder}, {free // 1_000_000:,} MB free", hint)


async def _kubectl() -> Check:
    found = shutil.which("kubectl")
    if found is None:
        return Check("kubectl", Finding.NOTE, "not on PATH; kaos does not need it")
    process = await asyncio.create_subprocess_exec(
        found, "version", "--client", "-o", "json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    text, _ = await process.communicate()
    import json

    try:
        version = json.loads(text)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError):
        return Check("kubectl", Finding.NOTE, f"{found} does not tell its version")
    return Check("kubectl", Finding.GOOD, f"{version} at {Path(found)}")


async def _clusters() -> list[Check]:
    checks = []
    for found in await embedded():
        crashed = found.state == "crashed"
        detail = f"{found.state}, {found.processes} processes, {found.config.server}"
        checks.append(
            Check(
                found.config.context,
                Finding.BAD if crashed else Finding.GOOD,
                detail,
                f"kaos up {found.config.name}" if crashed else "",
            )
        )
    return checks or [Check("cluster", Finding.NOTE, "none on this machine", "kaos up")]


async def _current(session: Session) -> list[Check]:
    try:
        kube = await session.kube()
        installed = await is_installed(kube)
        where = f"{kube.context_name}, namespace {kube.namespace}"
        if not installed:
            return [Check("context", Finding.BAD, f"{where}: KAOS is not installed", "kaos system install")]
        operator = await get_or_none(kube, DEPLOYMENTS, names.OPERATOR, names.SYSTEM_NAMESPACE)
    except KaosError as error:
        return [Check("context", Finding.BAD, error.message, error.hint)]
    ready = operator_ready(operator)
    said = "ready" if ready else "not ready" if operator else "missing"
    return [
        Check("context", Finding.GOOD, where),
        Check("operator", Finding.GOOD if ready else Finding.BAD, said, "" if ready else "kaos system status"),
    ]
