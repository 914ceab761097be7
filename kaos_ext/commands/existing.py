"""Names of things that exist, for completion: asked of the cluster, the kubeconfig, the package."""

from __future__ import annotations

from collections.abc import Iterable

from kaos_ext.commands.grammar import Names
from kaos_ext.commands.kinds import AGENT, MCPSERVER, MODELAPI
from kaos_ext.commands.session import Session
from kaos_ext.kube.objects import NAMESPACES

RESOURCES = {
    Names.AGENTS: AGENT.resource,
    Names.MODELAPIS: MODELAPI.resource,
    Names.MCPSERVERS: MCPSERVER.resource,
    Names.NAMESPACES: NAMESPACES,
}


async def existing(session: Session, names: Names) -> Iterable[str]:
    """Sorted; a KaosError when the cluster does not answer."""
    resource = RESOURCES.get(names)
    if resource is not None:
        kube = await session.kube()
        found = await kube.list(resource, kube.namespace if resource.namespaced else None)
        return sorted(str(item["metadata"]["name"]) for item in found.items)
    match names:
        case Names.CONTEXTS:
            from kaos_ext.kube.kubeconfig import read

            return sorted(read(session.options.kubeconfig).contexts)
        case Names.SAMPLES:
            from kaos_ext.commands.samples import samples

            return list(samples())
        case Names.CLUSTERS:
            from kaos_ext.commands.cluster import cluster_names

            return cluster_names()
    return ()
