"""Making a pod's surroundings: folder, volumes, credentials, and its containers' roots and environment."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaos_ext.cluster.node.context import NodeContext
from kaos_ext.cluster.node.credentials import Tokens, mounts_token, write_kubeconfig
from kaos_ext.cluster.node.env import PathRewriter, References, container_env, expand, referenced, service_env
from kaos_ext.cluster.node.images import Image
from kaos_ext.cluster.node.protocol import SHIM
from kaos_ext.cluster.node.volumes import (
    MountError,
    PayloadContext,
    link_claim,
    materialise,
    payload,
    write_payload,
)
from kaos_ext.kube.objects import (
    CONFIGMAPS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SECRETS,
    Object,
    Resource,
)
from kaos_ext.model.errors import KaosError

_INHERITED = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "TZ")
"""The only variables of the daemon that pods see: they name files of the machine, never keys."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A container ready to start."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    rewrite: Callable[[str], str]
    """Turns mount paths in later commands (probes, hooks) into where they lie."""
    template: tuple[str, ...] = ()
    """The image's template, where the container runs the image's own entrypoint."""


class PodSetup:
    def __init__(self, node: NodeContext, pod: Object, address: str, changed: Callable[[], None]) -> None:
        self._node = node
        self._pod = pod
        self._address = address
        self._changed = changed
        self._uid: str = pod["metadata"]["uid"]
        self._namespace: str = pod["metadata"]["namespace"]
        self._tokens = Tokens(node.client, pod)
        self._written_token = ""
        self.folder = node.pod_folder(self._uid)

    @property
    def facts(self) -> dict[str, str]:
        host = self._node.host_ip
        return {
            "status.podIP": self._address,
            "status.podIPs": self._address,
            "status.hostIP": host,
            "status.hostIPs": host,
            "spec.nodeName": self._node.config.name,
        }

    def update(self, pod: Object) -> None:
        self._pod = pod

    async def _find(self, resource: Resource, name: str) -> Object | None:
        return await self._node.references.get(self._uid, resource, self._namespace, name, self._changed)

    async def prepare(self) -> None:
        """Credentials and volumes; to be repeated when something referred to has changed. MountError: not yet."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._credentials()
        for volume in self._pod["spec"].get("volumes") or []:
            try:
                await self._volume(volume)
            except MountError as error:
                text = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error.message}'
                raise MountError(text, hint=error.hint) from error

    @property
    def tokens_stale(self) -> bool:
        return self._tokens.any_stale

    async def _credentials(self) -> None:
        config = self._node.config
        if not config.api_server or not mounts_token(self._pod):
            return
        try:
            token = await self._tokens.get("", config.token_seconds)
        except KaosError as error:
            raise MountError(f'no token for the pod\'s service account: {error.message}') from error  # fmt: skip
        if token != self._written_token:
            write_kubeconfig(self.folder / "kubeconfig", config, self._namespace, token)
            self._written_token = token

    async def _volume(self, volume: dict[str, Any]) -> None:
        folder = self.folder / "volumes" / volume["name"]
        found: dict[tuple[str, str], Object | None] = {}
        for kind, name in _sources(volume):
            found[kind, name] = await self._find(CONFIGMAPS if kind == "configmap" else SECRETS, name)
        for source in (volume.get("projected") or {}).get("sources") or []:
            if wanted := source.get("serviceAccountToken"):
                try:
                    await self._tokens.get(wanted.get("audience") or "", int(wanted.get("expirationSeconds") or 3600))
                except KaosError as error:
                    raise MountError(error.message) from error
        context = PayloadContext(
            self._pod, lambda kind, name: found[kind, name], self.facts, self._node.capacity, self._tokens.held
        )
        files = payload(volume, context)
        if files is not None:
            write_payload(folder, files)
        elif claim := volume.get("persistentVolumeClaim"):
            link_claim(folder, await self._claim_folder(claim["claimName"]))
        elif "emptyDir" in volume:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            kind = next((key for key in volume if key != "name"), "none")
            raise MountError(f"this node gives pods no {kind} volumes", hint="use an emptyDir or a claim")

    async def _claim_folder(self, name: str) -> Path:
        claim = await self._find(PERSISTENTVOLUMECLAIMS, name)
        if claim is None:
            raise MountError(f'persistentvolumeclaim "{name}" not found')
        if (claim.get("status") or {}).get("phase") != "Bound":
            raise MountError(f'persistentvolumeclaim "{name}" is not bound')
        volumes = self._node.config.volumes
        own = volumes / f"{self._namespace}-{name}-{claim['metadata']['uid']}"
        volume = await self._find(PERSISTENTVOLUMES, claim["spec"].get("volumeName") or "")
        spec = (volume or {}).get("spec") or {}
        path = (spec.get("hostPath") or spec.get("local") or {}).get("path")
        folder = Path(path) if path else own
        if not folder.resolve().is_relative_to(volumes.resolve()):
            raise MountError(f"volume of claim {name!r} lies outside the cluster's volumes")
        return folder

    async def launch(self, container: dict[str, Any], image: Image) -> Launch:
        """Everything to start a container with; ContainerConfigError when something it refers to is missing."""
        config = self._node.config
        configmaps, secrets = referenced(container)
        references = References(
            {name: await self._find(CONFIGMAPS, name) for name in configmaps},
            {name: await self._find(SECRETS, name) for name in secrets},
        )
        root = self.folder / "root" / container["name"]
        links = self._pod["spec"].get("enableServiceLinks", True)
        env, secret = container_env(
            self._pod,
            container,
            base={**self._base_env(root, config.python), **image.env},
            services=service_env(self._node.services(), self._namespace) if links else {},
            references=references,
            facts=self.facts,
            capacity=self._node.capacity,
        )
        materialise(root, self.folder / "volumes", container, env)
        rewrite = PathRewriter(str(root), [each["mountPath"] for each in container.get("volumeMounts") or []])
        command = [rewrite(expand(part, env)) for part in container.get("command") or []]
        args = [rewrite(expand(part, env)) for part in container.get("args") or []]
        env = {name: value if name in secret else rewrite(value) for name, value in env.items()} | {
            "POD_ROOT": str(root)
        }
        cwd = root / (container.get("workingDir") or "").strip("/")
        cwd.mkdir(parents=True, exist_ok=True)
        template = () if command else image.template
        return Launch(image.argv(command, args, config.python), env, str(cwd), rewrite, template)

    def _base_env(self, root: Path, python: str) -> dict[str, str]:
        metadata = self._pod["metadata"]
        domain = self._node.config.dns_domain
        env = {
            "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "HOSTNAME": metadata["name"],
            "HOST": self._address,
            "POD_IP": self._address,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": SHIM,
            "KAOS_HOSTS": str(self._node.hosts),
            "KAOS_SEARCH": f"{self._namespace}.svc.{domain} svc.{domain} {domain}",
        }
        env |= {name: os.environ[name] for name in _INHERITED if name in os.environ}
        if (self.folder / "kubeconfig").exists():
            env["KUBECONFIG"] = str(self.folder / "kubeconfig")
        return env

    async def remove(self) -> None:
        """Take the pod off the disk; claims' folders are only linked and stay."""
        self._node.references.release(self._uid)
        await asyncio.to_thread(_remove, self.folder, self._node.log_folder(self._pod))


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _sources(volume: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for part in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
        if source := part.get("configMap"):
            found.append(("configmap", source["name"]))
        if source := part.get("secret"):
            found.append(("secret", source.get("secretName") or source["name"]))
    return found
