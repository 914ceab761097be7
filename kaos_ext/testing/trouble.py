"""What there is to read in the cluster about a failure: conditions, events and logs of what the cell spoke of.

Objects of ours that the cell or its error names come first; when it names none, those that are not ready.
"""

from __future__ import annotations

from typing import Any

from kaos_ext.commands.kinds import ALL, Spoken
from kaos_ext.commands.waiting import trouble as pod_trouble
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.objects import EVENTS, PODS, Object
from kaos_ext.model.errors import KaosError

LOG_LINES = 12
MOST_OBJECTS = 4


async def look(kubeconfig: str, about: str) -> list[str]:
    """Lines for a report; a cluster that does not answer is one of them."""
    try:
        kube = await KubeClient.connect(kubeconfig=kubeconfig)
        try:
            return await _look(kube, about)
        finally:
            await kube.close()
    except KaosError as error:
        return [f"the cluster cannot be asked: {error.message}"]


async def _look(kube: KubeClient, about: str) -> list[str]:
    found: list[tuple[Spoken, Object]] = []
    for spoken in ALL:
        found += [(spoken, item) for item in (await kube.list(spoken.resource)).items]
    named = [(spoken, item) for spoken, item in found if item["metadata"]["name"] in about]
    chosen = named or [(spoken, item) for spoken, item in found if not (item.get("status") or {}).get("ready")]
    lines: list[str] = []
    for spoken, item in chosen[:MOST_OBJECTS]:
        lines += await _about(kube, spoken, item)
    return lines


async def _about(kube: KubeClient, spoken: Spoken, item: Object) -> list[str]:
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    status: dict[str, Any] = item.get("status") or {}
    lines = [f"{spoken.word} {namespace}/{name}: {status.get('phase', 'no status')}: {status.get('message', '')}"]
    for condition in status.get("conditions") or ():
        said = f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
        lines.append(f"  condition {condition.get('type')}={condition.get('status')} {said}")
    pods = (await kube.list(PODS, namespace, labels=spoken.selector(name))).items
    names = {name, spoken.child(name), *(pod["metadata"]["name"] for pod in pods)}
    events = [
        event
        for event in (await kube.list(EVENTS, namespace)).items
        if (event.get("involvedObject") or {}).get("name") in names and event.get("type") == "Warning"
    ]
    lines += [f"  event {event.get('reason')}: {event.get('message')}" for event in events[-6:]]
    for pod in pods:
        lines += await _of_pod(kube, pod, namespace)
    return lines


async def _of_pod(kube: KubeClient, pod: Object, namespace: str) -> list[str]:
    name = pod["metadata"]["name"]
    lines = [f"  pod {name}: {pod_trouble(pod) or 'running'}"]
    try:
        lines += [f"    log: {line}" async for line in kube.logs(name, namespace, tail=LOG_LINES)]
    except KaosError as error:
        lines.append(f"    log: {error.message}")
    return lines
