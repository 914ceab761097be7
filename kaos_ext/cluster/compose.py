"""The parts of a cluster, each made from its config: what the daemon puts together."""

from __future__ import annotations

from kaos_ext.cluster.apiserver.identity import AUTHENTICATED, MASTERS, UserInfo
from kaos_ext.cluster.apiserver.server import ApiServer, ApiServerConfig, KubeletAccess
from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.cluster.controllers import Controllers, ControllerSettings, start_controllers
from kaos_ext.cluster.node.agent import NodeAgent
from kaos_ext.cluster.node.config import KubeletServer, NodeConfig
from kaos_ext.cluster.node.images import ImageTable
from kaos_ext.cluster.pki import Pki
from kaos_ext.kube.objects import Resource


def api_server(config: ClusterConfig, pki: Pki) -> ApiServer:
    return ApiServer(
        ApiServerConfig(
            database=config.database,
            certificate=pki.api_certificate,
            key=pki.api_key,
            service_account_key=pki.service_account_key,
            service_network=config.service_network,
            port=config.port,
            tokens={pki.admin_token: UserInfo("kubernetes-admin", groups=(MASTERS, AUTHENTICATED))},
            client_ca=pki.ca,
            signing_key=pki.ca.with_name("ca.key"),
            kubelet=KubeletAccess(pki.ca, pki.kubelet_token),
        )
    )


async def controllers(server: ApiServer, config: ClusterConfig, pki: Pki) -> Controllers:
    def discover() -> list[Resource]:
        return [served.resource for served in server.registry if {"list", "watch", "delete"} <= set(served.verbs)]

    client = server.client("system:kube-controller-manager")
    return await start_controllers(client, ControllerSettings(discover, pki.ca_pem, config.volumes))


def node_agent(server: ApiServer, config: ClusterConfig, pki: Pki) -> NodeAgent:
    return NodeAgent(
        server.client(f"system:node:{config.node_name}"),
        NodeConfig(
            name=config.node_name,
            root=config.node,
            volumes=config.volumes,
            images=ImageTable.load(config.images) if config.images.exists() else ImageTable({}, config.images),
            pod_network=config.pod_network,
            service_network=config.service_network,
            api_server=config.server,
            api_server_ca=pki.ca,
            kubelet=KubeletServer(certificate=pki.kubelet_certificate, key=pki.kubelet_key, token=pki.kubelet_token),
        ),
    )
