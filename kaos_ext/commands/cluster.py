"""`kaos up`, `down` and `status`: the embedded cluster of this machine. The only module of the verbs that knows it.

up     the cluster runs → KAOS is installed on it → the operator is ready → its context is the current one
down   every process and port is gone, and the context that was current before is so again
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaos_ext import __version__
from kaos_ext.commands.failures import is_installed
from kaos_ext.commands.grammar import closest
from kaos_ext.commands.kinds import ALL
from kaos_ext.commands.result import Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.system import apply_install, operator_ready, wait_operator
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.kubeconfig import read
from kaos_ext.kube.objects import PODS, Object
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError, UnknownNameError
from kaos_ext.views import Card, Line, Note, Step, Steps, StepState, Tone

if TYPE_CHECKING:
    from kaos_ext.cluster.config import ClusterConfig
    from kaos_ext.cluster.lifecycle import ClusterStatus

DEFAULT = "default"
ISOLATION = "processes of your user, not isolated from it"


@dataclass
class Progress:
    """The steps of `up`, told whenever one of them changes."""

    title: str
    name: str
    tell: Callable[[Steps], None]
    steps: dict[str, Step] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    _starts: dict[str, float] = field(default_factory=dict)

    def to(self, step: str, state: StepState, detail: str = "") -> None:
        start = self._starts.setdefault(step, time.monotonic())
        self.steps[step] = Step(step, state, detail, time.monotonic() - start)
        self.tell(self.view())

    def waits(self, step: str) -> Callable[[str], None]:
        """Told of what this step waits for."""
        return lambda thing: self.to(step, StepState.WAITING, f"waiting for {thing}")

    def fail(self) -> None:
        """Whatever was under way is what failed."""
        for name, step in self.steps.items():
            if step.state in (StepState.RUNNING, StepState.WAITING):
                self.to(name, StepState.FAILED, step.detail)

    def view(self, hint: str = "") -> Steps:
        return Steps(self.title, self.name, tuple(self.steps.values()), time.monotonic() - self.began, hint)


async def up(
    session: Session, *, cluster: str | None, ephemeral: bool, idle: float | None, wait_timeout: float
) -> Result:
    from kaos_ext.cluster.lifecycle import start_cluster
    from kaos_ext.model.images import node_images

    name = cluster or (f"ephemeral-{session.owner_pid or os.getpid()}" if ephemeral else DEFAULT)
    progress = Progress("cluster", f"kaos-{name}", session.report)
    progress.to("cluster", StepState.RUNNING, "starting")
    progress.steps["operator"] = Step("operator")
    try:
        handle = await start_cluster(
            name,
            images=node_images(),
            ephemeral=ephemeral,
            owner_pid=session.owner_pid,
            idle_seconds=idle,
            on_progress=progress.waits("cluster"),
        )
        config = handle.config
        progress.to("cluster", StepState.DONE, f"{'started' if handle.started else 'running'} at {config.server}")
        kube = await KubeClient.connect(kubeconfig=str(config.kubeconfig))
        try:
            await _install(session, kube, progress, wait_timeout)
        finally:
            await kube.close()
        said = await asyncio.to_thread(_make_current, config)
    except KaosError:
        progress.fail()
        raise
    progress.to("context", StepState.DONE, said)
    progress.to("pods", StepState.DONE, ISOLATION)
    data = {
        "name": name,
        "started": handle.started,
        "version": handle.version,
        "context": config.context,
        "server": config.server,
        "kubeconfig": str(config.kubeconfig),
        "seconds": round(time.monotonic() - progress.began, 3),
    }
    return Result(progress.view(_outdated(handle.version, name)), data)


def words(verb: str, name: str) -> str:
    """The command for a cluster; the default one needs no name."""
    return f"kaos {verb}" if name == DEFAULT else f"kaos {verb} {name}"


def _outdated(version: str, name: str) -> str:
    """What to do about a daemon that was started by another version of this package."""
    if version == __version__:
        return ""
    ran = f"kaos {version}" if version else "an older kaos"
    return f"the cluster still runs {ran}, this is {__version__}: `{words('down', name)}`, then `{words('up', name)}`"


async def _install(session: Session, kube: KubeClient, progress: Progress, patience: float) -> None:
    from kaos_operator.install import install_objects

    progress.to("operator", StepState.RUNNING, "installing")
    await apply_install(kube, install_objects(names.SYSTEM_NAMESPACE))

    def tell(view: Steps | Note) -> None:
        # What the operator's readiness means is said below, once.
        if isinstance(view, Steps) and view.steps[0].state is not StepState.DONE:
            progress.to("operator", view.steps[0].state, view.steps[0].detail)

    await wait_operator(Session(session.options, tell), kube, names.SYSTEM_NAMESPACE, patience)
    progress.to("operator", StepState.DONE, f"ready in namespace {names.SYSTEM_NAMESPACE}")


def _make_current(config: ClusterConfig) -> str:
    """Put the context into the user's kubeconfig; one that is right already keeps what the user set in it."""
    from kaos_ext.cluster.kubeconfig import add_context

    if config.ephemeral:
        return f"private: --kubeconfig {config.kubeconfig}"
    if _is_current(config):
        return f"{config.context} is current"
    change = add_context(config)
    before = f" (was {change.previous})" if change.previous and change.previous != change.context else ""
    return f"{change.context} is current{before}"


def _is_current(config: ClusterConfig) -> bool:
    from kaos_ext.cluster.kubeconfig import entries

    known = read()
    if known.current != config.context:
        return False
    wanted = entries(config)
    return all(
        set(wanted[section][kind].items()) <= set(found.get(config.context, {}).items())
        for section, kind, found in (("clusters", "cluster", known.clusters), ("users", "user", known.users))
    )


async def down(session: Session, *, cluster: str | None, delete: bool) -> Result:
    from kaos_ext.cluster.config import cluster_root, load_config
    from kaos_ext.cluster.kubeconfig import remove_context
    from kaos_ext.cluster.lifecycle import stop_cluster

    known = cluster_names()
    name = cluster or private(session) or DEFAULT
    if name not in known:
        if cluster is None:
            others = f"kaos down {known[0]}" if known else ""
            said = f"there is no cluster `{name}` of this machine to stop"
            return Result(Note(Tone.QUIET, said, others), {"name": name, "stopped": False})
        raise unknown(name, known)
    config = load_config(cluster_root(name))
    delete = delete or config.ephemeral
    session.note(f"context {config.context}")
    progress = Progress("stopping", config.context, session.report)
    progress.to("cluster", StepState.RUNNING, "stopping")
    stopped = await stop_cluster(
        name,
        delete_state=False,
        on_progress=progress.waits("cluster"),
    )
    change = await asyncio.to_thread(remove_context, config)
    if delete:
        await stop_cluster(name, delete_state=True)
    progress.to("cluster", StepState.DONE, "stopped" if stopped else "was not running")
    if change.context == change.previous:
        context = ""
    elif change.context:
        context = f"; context {change.context} is current again"
    else:
        context = "; no context is current"
    state = "its state is deleted" if delete else "its state is kept"
    said = f"{'Stopped cluster' if stopped else 'There was nothing to stop of cluster'} '{name}'; {state}{context}"
    data = {"name": name, "stopped": stopped, "deleted": delete, "context": change.context}
    return Result(Done(said, "" if delete else words("up", name)), data)


def private(session: Session) -> str:
    """The cluster whose own kubeconfig is the one in use."""
    used = session.options.kubeconfig or os.environ.get("KUBECONFIG", "")
    return next((name for name in cluster_names() if Path(used) == home() / "clusters" / name / "kubeconfig"), "")


async def status(session: Session, *, cluster: str | None) -> Result:
    clusters = await embedded()
    if cluster is not None:
        clusters = [found for found in clusters if found.config.name == cluster]
        if not clusters:
            raise unknown(cluster, cluster_names())
    there = await _current(session)
    lines = tuple(
        Line(
            Tone.DONE if found.state == "running" else Tone.WAITING if found.state == "crashed" else Tone.QUIET,
            found.config.context,
            f"{found.state} · {found.config.server} · {_processes(found.processes)}",
            words("up", found.config.name)
            if found.state in ("stopped", "crashed")
            else _outdated(found.version, found.config.name)
            if found.state == "running"
            else "",
        )
        for found in clusters
    )
    shown = ("server", "namespace", "operator", "error")
    fields = [(label, str(there[label])) for label in shown if there.get(label)]
    fields += [(label, _said(count)) for label, count in (there.get("objects") or {}).items()]
    reachable = bool(there.get("reachable"))
    if not there.get("context"):
        fields = []
    state = "answers" if reachable else "does not answer" if there.get("context") else "no context is current"
    card = Card(
        "cluster",
        str(there.get("context") or ""),
        state,
        Tone.DONE if reachable else Tone.FAILED,
        tuple(fields),
        lines,
        hint=str(there.get("hint") or "") if reachable else str(there.get("hint") or "kaos up"),
    )
    return Result(card, {"current": there, "clusters": [found.as_json() for found in clusters]})


async def embedded() -> list[ClusterStatus]:
    """The clusters of this machine."""
    from kaos_ext.cluster.lifecycle import list_clusters

    return await list_clusters()


def home() -> Path:
    """Where clusters keep their state."""
    from kaos_ext.cluster.config import kaos_home

    return kaos_home()


def cluster_names() -> list[str]:
    return sorted(path.parent.name for path in (home() / "clusters").glob("*/config.json"))


async def _current(session: Session) -> dict[str, Any]:
    """What the current context leads to; silence is an answer here, not an error."""
    there: dict[str, Any] = {}
    try:
        kube = await session.kube()
        there |= {"context": kube.context_name, "server": kube.server, "namespace": kube.namespace}
        there["installed"] = await is_installed(kube)
        there["reachable"] = True
        if there["installed"]:
            there["objects"] = await _counts(kube)
            there["operator"] = await _operator_says(kube)
        else:
            there |= {"operator": "not installed", "hint": "kaos system install"}
    except KaosError as error:
        there |= {"reachable": False, "error": error.message, "hint": error.hint}
    return there


def _processes(count: int) -> str:
    return f"{count} process" if count == 1 else f"{count} processes"


def _said(count: Mapping[str, int]) -> str:
    return f"{count['total']} ({count['ready']} ready)" if count["total"] else "0"


async def _counts(kube: KubeClient) -> dict[str, dict[str, int]]:
    """Of each kind in the namespace: how many, and how many of them are ready."""
    found = await asyncio.gather(
        *(kube.list(kind.resource, kube.namespace) for kind in ALL), kube.list(PODS, kube.namespace)
    )
    counts = {}
    for kind, listed in zip(ALL, found, strict=False):
        ready = sum(bool((item.get("status") or {}).get("ready")) for item in listed.items)
        counts[f"{kind.word}s"] = {"total": len(listed.items), "ready": ready}
    pods = found[-1].items
    return counts | {"pods": {"total": len(pods), "ready": sum(map(_is_ready, pods))}}


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


async def _operator_says(kube: KubeClient) -> str:
    from kaos_ext.commands.system import get_or_none
    from kaos_ext.kube.objects import DEPLOYMENTS

    item = await get_or_none(kube, DEPLOYMENTS, names.OPERATOR, names.SYSTEM_NAMESPACE)
    return "ready" if operator_ready(item) else "not ready" if item else f"not in namespace {names.SYSTEM_NAMESPACE}"


def unknown(name: str, known: list[str]) -> UnknownNameError:
    meant = closest(name, known)
    hint = f"did you mean `{meant}`?" if meant else f"there are: {', '.join(known)}" if known else "kaos up"
    return UnknownNameError(f"there is no cluster `{name}` on this machine", hint=hint)
