"""Which cluster, as whom: the kubeconfig files read the way every Kubernetes client reads them.

    $KUBECONFIG or ~/.kube/config (first entry of a name wins) ─ context ─▶ Endpoint
    a pod's service account, when there is no kubeconfig        ───────────▶ Endpoint

Keys, certificates, tokens and passwords are read here, in a few milliseconds. Credentials that take a program or an
identity provider (`exec`, `auth-provider`) are the official client's work: `kaos_ext.kube.plugins`, for those only.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaos_ext.model.errors import KaosError, NotFoundError, UnknownNameError, UnreachableError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
IN_CLUSTER = "in-cluster"
POD_CONTEXT, RESOLVER = "pod", "KAOS_HOSTS"
"""Our node agent gives a pod a kubeconfig with this context, and this variable: service names resolve there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and the credentials for it. Certificates and key are PEM text; `token_file` is read anew each time."""

    server: str
    context: str
    namespace: str = "default"
    authority: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    insecure: bool = False
    tls_server_name: str = ""
    proxy: str = ""
    inside: bool = False
    """This process runs in a pod of that very cluster: service names resolve."""
    plugin: str = ""
    """`exec` or `auth-provider`: the official client fetches the credentials."""
    files: tuple[str, ...] = ()


def kubeconfig_files(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    if explicit:
        return (Path(explicit).expanduser(),)
    listed = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return tuple(Path(part).expanduser() for part in listed) or (Path("~/.kube/config").expanduser(),)


@dataclass(frozen=True, slots=True)
class Config:
    """The merged files: entries by name, each with the folder its relative paths start from."""

    current: str
    contexts: dict[str, dict[str, Any]]
    clusters: dict[str, dict[str, Any]]
    users: dict[str, dict[str, Any]]
    files: tuple[str, ...]


_FOLDER = "\0folder"


def read(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Merge the files that exist; an explicit one must."""
    current = ""
    found: dict[str, dict[str, dict[str, Any]]] = {"contexts": {}, "clusters": {}, "users": {}}
    files = []
    for path in kubeconfig_files(explicit, environ):
        if not path.exists():
            if explicit:
                raise NotFoundError(f"there is no kubeconfig {explicit}", hint="kaos up, or another --kubeconfig")
            continue
        files.append(str(path))
        document = _document(path)
        current = current or str(document.get("current-context") or "")
        for section, entries in found.items():
            for entry in document.get(section) or []:
                value = dict(entry.get(section[:-1]) or {})
                entries.setdefault(str(entry.get("name")), {**value, _FOLDER: str(path.parent)})
    return Config(current, found["contexts"], found["clusters"], found["users"], tuple(files))


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise KaosError(f"the kubeconfig {path} cannot be read: {error}", hint="repair it, or --kubeconfig") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KaosError(f"the kubeconfig {path} is not a mapping", hint="repair it, or --kubeconfig")
    return document


def endpoint(
    context: str | None = None, kubeconfig: str | None = None, environ: Mapping[str, str] = os.environ
) -> Endpoint:
    """The endpoint of a context, of the current one, or of the pod this runs in."""
    config = read(kubeconfig, environ)
    name = context or config.current
    if not name:
        return _service_account(environ)
    if name not in config.contexts:
        meant = difflib.get_close_matches(name, config.contexts, n=1)
        known = f"one of: {', '.join(config.contexts)}" if config.contexts else "kaos up makes one"
        raise UnknownNameError(
            f"there is no context `{name}` in the kubeconfig", hint=f"did you mean {meant[0]}?" if meant else known
        )
    entry = config.contexts[name]
    cluster = config.clusters.get(str(entry.get("cluster")), {})
    user = config.users.get(str(entry.get("user")), {})
    if not cluster.get("server"):
        raise KaosError(f"context `{name}` names no cluster with a server", hint="kubectl config view")
    server = str(cluster["server"]).rstrip("/")
    return Endpoint(
        server=server,
        context=name,
        namespace=str(entry.get("namespace") or "default"),
        authority=_pem(cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
        certificate=_pem(user, "client-certificate"),
        key=_pem(user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=_path(user, str(user["tokenFile"])) if user.get("tokenFile") else "",
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        inside=server == _own_server(environ) or (name == POD_CONTEXT and RESOLVER in environ),
        plugin=next((kind for kind in ("exec", "auth-provider") if user.get(kind)), ""),
        files=config.files,
    )


def _own_server(environ: Mapping[str, str]) -> str:
    """The API server of the pod this runs in, by the environment every pod has."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _service_account(environ: Mapping[str, str]) -> Endpoint:
    server, token = _own_server(environ), SERVICE_ACCOUNT / "token"
    if not server or not token.exists():
        raise UnreachableError(
            "no cluster is configured: there is no kubeconfig with a current context", hint="kaos up"
        )
    space = SERVICE_ACCOUNT / "namespace"
    return Endpoint(
        server=server,
        context=IN_CLUSTER,
        namespace=space.read_text().strip() if space.exists() else "default",
        authority=(SERVICE_ACCOUNT / "ca.crt").read_text(),
        token_file=str(token),
        inside=True,
    )


def _path(entry: Mapping[str, Any], value: str) -> str:
    return str(Path(entry[_FOLDER]) / Path(value).expanduser())


def _pem(entry: Mapping[str, Any], field: str) -> str:
    """A certificate or key: inline base64 wins over a file."""
    inline, file = entry.get(f"{field}-data"), entry.get(field)
    try:
        if inline:
            return base64.b64decode(str(inline)).decode()
        return Path(_path(entry, str(file))).read_text() if file else ""
    except (OSError, binascii.Error, UnicodeDecodeError) as error:
        raise KaosError(f"{field} of the kubeconfig cannot be read: {error}", hint="kubectl config view") from error
