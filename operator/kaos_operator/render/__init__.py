"""From a resource to the objects it needs: pure functions, no clock and no I/O.

context    what a renderer may know of the rest of the cluster
pods       containers, Deployments, Services; overrides; the pod-spec hash
strategic  the merge of spec.podSpec
modelapi, mcpserver, agent    one renderer per kind
status     the status of a resource from what was rendered and what its Deployment says
"""

from __future__ import annotations

from kaos_ext.kube.objects import Object
from kaos_ext.model.names import Kind
from kaos_operator.render.agent import render_agent
from kaos_operator.render.context import Context, Rendered
from kaos_operator.render.mcpserver import render_mcpserver
from kaos_operator.render.modelapi import render_modelapi

_RENDERERS = {Kind.MODELAPI: render_modelapi, Kind.MCPSERVER: render_mcpserver, Kind.AGENT: render_agent}


def render(resource: Object, context: Context) -> Rendered:
    """The children a resource needs, or why it has none (yet), with what to say of it."""
    return _RENDERERS[Kind(resource["kind"])](resource, context)


def desired_children(resource: Object, context: Context) -> list[Object]:
    """Only the objects; empty while they cannot be known."""
    return render(resource, context).children or []


__all__ = ["Context", "Rendered", "desired_children", "render"]
