"""Is the cluster as the notebook says? What its outputs claim at the end, against what the API server says.

    ✅ Deployed Agent 'a' …     and not deleted later:   it is there, and ready
    ✅ Deleted Agent 'a'        and not deployed later:  it is gone (or going)
    %kaos agent delete a        the same, for a line whose answer is not shown
    namespace "n" deleted       with everything in it
    a live view                 its agent, where it still is, has come at least that far

`metadata.kaos.expect` of a notebook adds what no output says: `{"agent/auto-agent": "gone" | "ready"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kaos_ext.commands.kinds import ALL, Spoken
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import Object, is_not_found
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.testing.findings import Finding, Verdict
from kaos_ext.testing.liveview import MIMETYPE
from kaos_ext.testing.screen_text import final_text

_SAID = re.compile(r"✅ (?P<verb>Deployed|Deleted) (?P<kind>Agent|MCPServer|ModelAPI) '(?P<name>[^']+)'")
_DELETES = re.compile(
    r"^\s*[!%]?kaos +(?P<word>agent|mcp|modelapi) +delete +(?P<name>[a-z0-9][a-z0-9-]*)", re.MULTILINE
)
_WHERE = re.compile(r"\bnamespace (?P<name>[a-z0-9][a-z0-9-]*)")
_NAMESPACE_GONE = re.compile(r'^namespace "(?P<name>[^"]+)" deleted', re.MULTILINE)
READY_SECONDS = 15.0


@dataclass(frozen=True)
class Claim:
    """One object, whether it is there, and which cell said so last."""

    spoken: Spoken
    namespace: str
    name: str
    there: bool
    cell: int
    cell_id: str

    @property
    def what(self) -> str:
        return f"{self.spoken.kind.value} {self.namespace}/{self.name}"


def claims(notebook: Any, namespace: str = "default") -> list[Claim]:
    """What holds at the end, by the outputs; where a cell does not say the namespace, it is this one."""
    last: dict[tuple[Spoken, str, str], Claim] = {}
    for index, cell in enumerate(notebook.cells):
        for delete in _DELETES.finditer(cell.source) if cell.cell_type == "code" else ():
            for key, claim in last.items():
                if (claim.spoken.word, claim.name) == (delete["word"], delete["name"]):
                    last[key] = replace(claim, there=False, cell=index, cell_id=cell.get("id", ""))
        for text in _texts(cell):
            place = _WHERE.search(text)
            where = place["name"] if place else namespace
            for match in _SAID.finditer(text):
                spoken = next(kind for kind in ALL if kind.kind.value == match["kind"])
                claim = Claim(spoken, where, match["name"], match["verb"] == "Deployed", index, cell.get("id", ""))
                last[spoken, where, match["name"]] = claim
            for gone in _NAMESPACE_GONE.finditer(text):
                for key, claim in last.items():
                    if claim.namespace == gone["name"]:
                        last[key] = replace(claim, there=False, cell=index, cell_id=cell.get("id", ""))
    for word, state in ((notebook.metadata.get("kaos") or {}).get("expect") or {}).items():
        kind, _, name = word.partition("/")
        spoken = next(known for known in ALL if known.word == kind)
        last[spoken, namespace, name] = Claim(spoken, namespace, name, state == "ready", len(notebook.cells) - 1, "")
    return list(last.values())


async def check_claims(notebook: Any, kubeconfig: str) -> list[Finding]:
    """One finding for each claim that the cluster does not bear out."""
    kube: KubeClient | None = None
    try:
        kube = await KubeClient.connect(kubeconfig=kubeconfig)
        said = claims(notebook, kube.namespace)
        found = [_finding(claim, why) for claim in said if (why := await _contradiction(kube, claim))]
        return found + await _check_views(kube, notebook)
    except KaosError as error:
        return [Finding(Verdict.CLUSTER, f"the cluster does not answer after the notebook: {error.message}")]
    finally:
        if kube is not None:
            await kube.close()


async def _contradiction(kube: KubeClient, claim: Claim) -> str:
    item = await _get(kube, claim)
    if not claim.there:
        gone = item is None or item["metadata"].get("deletionTimestamp")
        return "" if gone else f"it says {claim.what} is deleted, but it is there"
    if item is None:
        return f"it says {claim.what} is deployed, but there is none"
    status: dict[str, Any] = item.get("status") or {}
    if not status.get("ready"):
        return (
            f"{claim.what} is deployed, but not ready: {status.get('phase', '')} {status.get('message', '')}".rstrip()
        )
    return ""


async def _get(kube: KubeClient, claim: Claim) -> Object | None:
    """The object; it gets a moment to become what is claimed, when it is there."""

    def settled(item: Object | None) -> bool:
        if not claim.there:
            return item is None or bool(item["metadata"].get("deletionTimestamp"))
        return bool(((item or {}).get("status") or {}).get("ready"))

    try:
        item = await kube.get(claim.spoken.resource, claim.name, claim.namespace)
        if settled(item):
            return item
        return await kube.wait(claim.spoken.resource, claim.name, claim.namespace, settled, READY_SECONDS)
    except NotReadyError:
        return await kube.get(claim.spoken.resource, claim.name, claim.namespace)
    except KaosError as error:
        if is_not_found(error):
            return None
        raise


async def _check_views(kube: KubeClient, notebook: Any) -> list[Finding]:
    """A live view cannot have seen more iterations than its agent remembers."""
    found = []
    for index, cell, view in _views(notebook):
        agent = next(kind for kind in ALL if kind.word == "agent")
        try:
            item = await kube.get(agent.resource, view["name"], view["namespace"])
        except KaosError as error:
            if is_not_found(error):
                continue
            raise
        done = ((item.get("status") or {}).get("loop") or {}).get("iteration")
        if isinstance(done, int) and done + 1 < int(view.get("iteration") or 0):
            cause = f"its view shows iteration {view['iteration']} of {view['name']}, whose status says {done}"
            found.append(Finding(Verdict.CLUSTER, cause, index, cell.get("id", "")))
    return found


def _views(notebook: Any) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            if MIMETYPE in output.get("data", {}):
                yield index, cell, output["data"][MIMETYPE]


def _texts(cell: Any) -> Iterator[str]:
    for output in cell.get("outputs", ()):
        text = output.get("text") if output.output_type == "stream" else output.get("data", {}).get("text/plain")
        if text:
            yield final_text("".join(text))


def _finding(claim: Claim, why: str) -> Finding:
    return Finding(Verdict.CLUSTER, why, claim.cell, claim.cell_id)
