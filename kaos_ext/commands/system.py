"""`kaos system …`: the operator on the current cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from kaos_ext.commands.failures import not_installed
from kaos_ext.commands.outputs import age
from kaos_ext.commands.result import Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.waiting import trouble
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    PODS,
    ApiError,
    Object,
    Resource,
)
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError, NotReadyError
from kaos_ext.views import Card, Line, Step, Steps, StepState, Table, Tone

INSTALLER = "kaos-install"


async def status(session: Session) -> Result:
    kube = await session.kube()
    crds, operator = await asyncio.gather(_crds(kube), _operator(kube))
    ready = operator_ready(operator)
    lines = tuple(
        Line(Tone.DONE if established(crd) else Tone.WAITING, crd["metadata"]["name"], "", age(crd)) for crd in crds
    )
    data = {
        "context": kube.context_name,
        "namespace": kube.namespace,
        "installed": bool(crds),
        "ready": ready,
        "crds": [crd["metadata"]["name"] for crd in crds],
        "image": _image(operator),
    }
    state = "Ready" if ready else "not ready" if operator else "not installed"
    tone = Tone.DONE if ready else Tone.WAITING if operator else Tone.FAILED
    fields = (("context", kube.context_name), ("namespace", kube.namespace), ("image", _image(operator)))
    hint = "" if operator else "kaos system install"
    return Result(Card("operator", names.OPERATOR, state, tone, fields, lines, hint=hint), data)


async def runtimes(session: Session) -> Result:
    """The registry as it is in the cluster, so that entries of its owner show."""
    kube = await session.kube()
    entries = await registered(kube, kube.namespace)
    rows = tuple(
        (name, str(entry.get("type") or ""), str(entry.get("description") or ""), str(entry.get("image") or ""))
        for name, entry in entries.items()
    )
    return Result(Table("MCP runtimes", ("name", "type", "description", "image"), rows), {"runtimes": entries})


async def registered(kube: KubeClient, namespace: str) -> dict[str, Any]:
    """The entries of the registry by name."""
    import yaml

    found = await get_or_none(kube, CONFIGMAPS, names.MCP_RUNTIMES, namespace)
    if found is None:
        raise not_installed(kube)
    entries = (yaml.safe_load((found.get("data") or {}).get("runtimes.yaml") or "") or {}).get("runtimes") or {}
    return dict(entries)


async def install(session: Session, *, wait: bool, wait_timeout: float) -> Result:
    from kaos_operator.install import install_objects

    kube = await session.changing()
    await apply_install(kube, install_objects(kube.namespace))
    if wait:
        await wait_operator(session, kube, kube.namespace, wait_timeout)
    return Result(
        Done(f"Installed KAOS in namespace {kube.namespace}", "kaos system status"), {"namespace": kube.namespace}
    )


async def apply_install(kube: KubeClient, objects: Sequence[Object]) -> None:
    """CRDs and the namespace at once, then everything in it at once. Re-applying what is the same changes nothing."""
    cluster_wide = [o for o in objects if not (o["metadata"].get("namespace"))]
    inside = [o for o in objects if o["metadata"].get("namespace")]
    for group in (cluster_wide, inside):
        await asyncio.gather(*(kube.apply(item, field_manager=INSTALLER) for item in group))


async def wait_operator(session: Session, kube: KubeClient, namespace: str, patience: float) -> None:
    began = time.monotonic()

    def tell(item: Object | None) -> None:
        took = time.monotonic() - began
        state = StepState.DONE if operator_ready(item) else StepState.WAITING
        step = Step("operator", state, "" if state is StepState.DONE else _starting(item), took)
        session.report(Steps("waiting for", "operator", (step,), took))

    try:
        await kube.wait(DEPLOYMENTS, names.OPERATOR, namespace, operator_ready, patience, on_change=tell)
    except NotReadyError as error:
        raise NotReadyError(
            f"the operator is not ready after {patience:g} s",
            hint=f"kubectl -n {namespace} logs deploy/{names.OPERATOR}",
            details=await _pods_say(kube, namespace),
        ) from error


async def uninstall(session: Session, *, crds: bool) -> Result:
    from kaos_operator.install import install_objects

    kube = await session.changing()
    gone: list[str] = []
    for item in reversed(install_objects(kube.namespace)):
        kind = item["kind"]
        if kind == "Namespace" or (kind in ("CustomResourceDefinition", "APIService") and not crds):
            continue
        resource = await kube.resource_of(item["apiVersion"], kind)
        try:
            await kube.delete(resource, item["metadata"]["name"], item["metadata"].get("namespace"))
        except ApiError as error:
            if error.code != 404:
                raise
            continue
        gone.append(f"{kind} {item['metadata']['name']}")
    kept = "" if crds else "agents, models and tool servers stay; `kaos system uninstall --crds` removes them too"
    return Result(Done(f"Uninstalled KAOS from namespace {kube.namespace}", kept), {"deleted": gone})


async def _crds(kube: KubeClient) -> list[Object]:
    found = (await kube.list(CUSTOMRESOURCEDEFINITIONS)).items
    return [crd for crd in found if crd["spec"]["group"] == names.GROUP]


async def _operator(kube: KubeClient) -> Object | None:
    return await get_or_none(kube, DEPLOYMENTS, names.OPERATOR, kube.namespace)


async def get_or_none(kube: KubeClient, resource: Resource, name: str, namespace: str | None) -> Object | None:
    try:
        return await kube.get(resource, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return None
        raise


def operator_ready(item: Object | None) -> bool:
    """The Deployment's newest generation has its replica available."""
    status: dict[str, Any] = (item or {}).get("status") or {}
    generation = ((item or {}).get("metadata") or {}).get("generation", 0)
    return (
        item is not None
        and status.get("observedGeneration", 0) >= generation
        and status.get("updatedReplicas", 0) >= 1
        and status.get("availableReplicas", 0) >= 1
    )


def established(crd: Object) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def _image(item: Object | None) -> str:
    containers = ((((item or {}).get("spec") or {}).get("template") or {}).get("spec") or {}).get("containers") or [{}]
    return str(containers[0].get("image") or "")


_STUCK = (("ReplicaFailure", "True"), ("Progressing", "False"))


def _starting(item: Object | None) -> str:
    """What is waited for: why its Deployment cannot go on, or that it goes on."""
    for condition in ((item or {}).get("status") or {}).get("conditions") or ():
        if (condition.get("type"), condition.get("status")) in _STUCK:
            return str(condition.get("message") or condition.get("reason") or "")
    return "waiting for its process to answer"


async def _pods_say(kube: KubeClient, namespace: str) -> tuple[str, ...]:
    """Why the operator's pods do not run, as far as we may see them."""
    try:
        pods = (await kube.list(PODS, namespace, labels=f"app.kubernetes.io/name={names.OPERATOR}")).items
    except KaosError:
        return ()
    return tuple(f"pod {pod['metadata']['name']}: {why}" for pod in pods if (why := trouble(pod)))
