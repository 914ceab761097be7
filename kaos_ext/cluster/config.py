"""Where a cluster keeps its state, and the few choices that must never change while it lives.

    <home>/clusters/<name>/
        config.json       this module's `ClusterConfig`: name, API port, network, options
        cluster.db        what the API server stores
        pki/              CA, certificates, keys, tokens (all 0600)
        kubeconfig        the administrator's, private to this cluster
        daemon.pid/.lock  the daemon that runs it; daemon.log what it says
        node/  volumes/  images.json

`<home>` is `$KAOS_HOME` or the user's data folder, on a disk of this machine. The API port and the 127.x network are
chosen once and kept, so that kubeconfigs, the addresses of Services and kubectl's discovery cache stay right over
restarts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kaos_ext import __version__
from kaos_ext.model.errors import KaosError, UsageError

DEFAULT_NAME = "default"
FORMAT = 1
"""Of the state folder; a folder of a later one is refused."""
ALLOW_NETWORK = "KAOS_ALLOW_NETWORK_HOME"
"""Set to 1 by those who know that no other machine uses the folder."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """One cluster's choices; every path of its state folder is a property."""

    root: Path
    name: str
    port: int
    octet: int
    ephemeral: bool = False
    idle_seconds: float | None = None
    owner_pid: int | None = None
    owner_birth: str | None = None
    """When the owner was born: a pid alone may be another process's by now."""
    host: str = ""
    """Name of the node, where it is not the context's: of a cluster that was restored under another name."""

    @property
    def context(self) -> str:
        """Name of the kubeconfig context, cluster and user."""
        return f"kaos-{self.name}"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def node_name(self) -> str:
        return self.host or self.context

    @property
    def network(self) -> IPv4Network:
        return IPv4Network(f"127.{self.octet}.0.0/16")

    @property
    def service_network(self) -> IPv4Network:
        return IPv4Network(f"127.{self.octet}.0.0/17")

    @property
    def pod_network(self) -> IPv4Network:
        return IPv4Network(f"127.{self.octet}.128.0/17")

    @property
    def kubernetes_service_ip(self) -> IPv4Address:
        return self.service_network.network_address + 1

    @property
    def file(self) -> Path:
        return self.root / "config.json"

    @property
    def database(self) -> Path:
        return self.root / "cluster.db"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def pid_file(self) -> Path:
        return self.root / "daemon.pid"

    @property
    def daemon_lock(self) -> Path:
        return self.root / "daemon.lock"

    @property
    def log_file(self) -> Path:
        return self.root / "daemon.log"

    @property
    def node(self) -> Path:
        return self.root / "node"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def images(self) -> Path:
        return self.root / "images.json"

    @property
    def previous_context(self) -> Path:
        """What `kaos up` replaced in the user's kubeconfig, to be put back by `kaos down`."""
        return self.root / "previous-context.json"

    def with_run_options(
        self, *, ephemeral: bool, idle_seconds: float | None, owner_pid: int | None, owner_birth: str | None
    ) -> ClusterConfig:
        return replace(
            self, ephemeral=ephemeral, idle_seconds=idle_seconds, owner_pid=owner_pid, owner_birth=owner_birth
        )

    def save(self) -> None:
        data = {key: value for key, value in asdict(self).items() if key != "root" and value not in (None, "")}
        data |= {"format": FORMAT, "written_by": __version__}
        write_private(self.file, json.dumps(data, indent=1).encode() + b"\n")


def kaos_home() -> Path:
    """`$KAOS_HOME`, or the folder where this system keeps a user's data."""
    if home := os.environ.get("KAOS_HOME"):
        return Path(home).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("kaos", appauthor=False)


def cluster_root(name: str) -> Path:
    """The state folder of the cluster `name`, whether it exists or not."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a cluster",
            hint="a name has up to 40 lower-case letters, digits and hyphens, such as `dev`",
        )
    return kaos_home() / "clusters" / name


def load_config(root: Path) -> ClusterConfig:
    """The config kept in a state folder; FileNotFoundError when there is none."""
    text = (root / "config.json").read_text()
    try:
        data = json.loads(text)
        found, writer = int(data.pop("format", 1)), str(data.pop("written_by", ""))
        if found > FORMAT:
            by = f", written by kaos {writer}" if writer else ""
            raise KaosError(
                f"the state of cluster {root.name!r} has format {found}{by}; this is kaos {__version__}, "
                f"which knows formats up to {FORMAT}",
                hint="use the version that wrote it or a later one: pip install --upgrade kaos-ext",
            )
        return ClusterConfig(root=root, **data)
    except (ValueError, TypeError, AttributeError) as error:
        raise KaosError(
            f"{root / 'config.json'} is damaged: {error}",
            hint=f"restore it, or remove the cluster's state with `kaos down --delete {root.name}`",
        ) from error


def known_configs() -> list[ClusterConfig]:
    """The configs of all clusters of this home, by name."""
    found = []
    for file in sorted((kaos_home() / "clusters").glob("*/config.json")):
        # A damaged one is told of by the command that names it; it must not get in the way of the others.
        with contextlib.suppress(FileNotFoundError, KaosError):
            found.append(load_config(file.parent))
    return found


def check_place(path: Path) -> None:
    """Refuse a state folder that another machine may have as well."""
    import getpass

    from kaos_ext.store.place import network_mount

    found = network_mount(path)
    if found is None or os.environ.get(ALLOW_NETWORK) == "1":
        return
    raise KaosError(
        f"{path} lies on {found.source} ({found.type} at {found.point}), a network file system: a cluster's database "
        "there can be destroyed by a second machine, or by a lock that does not hold",
        hint=f"set KAOS_HOME to a folder on a disk of this machine, such as /var/tmp/kaos-{getpass.getuser()} "
        f"(or {ALLOW_NETWORK}=1, if no other machine ever uses this one)",
    )


def damaged(config: ClusterConfig, why: str) -> KaosError:
    """What to say of a store that cannot be read."""
    last = why.strip().splitlines()[-1] if why.strip() else "it cannot be read"
    return KaosError(
        f"the store of cluster {config.name!r} is damaged: {last}",
        hint=f"`kaos restore FILE {config.name}-2` makes a cluster from a backup beside it; this one's volumes are "
        f"untouched in {config.volumes}",
    )


def unwritable(path: Path, error: OSError) -> KaosError:
    """What to say of a file or folder that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return KaosError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="free some space there, then try again: nothing of the file was changed"
        if full
        else "see who may write there, or set KAOS_HOME to another folder",
    )


def private_folder(path: Path) -> Path:
    """Make a folder (and its parents) that only this user can enter."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def write_private(path: Path, content: bytes) -> None:
    """Replace a file in one step, readable by this user only; a crash leaves the old or the new content, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise
