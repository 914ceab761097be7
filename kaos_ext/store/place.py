"""Where a database may lie: on a disk of this machine.

SQLite's write-ahead log is shared memory between processes of one machine, and file locks over a network are what they
are: two machines that open one log destroy it. So file systems that are served from elsewhere are told apart here, by
the table of mounts alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# fmt: off
_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "coda", "ncpfs", "ceph", "glusterfs", "lustre", "gpfs",
    "mmfs", "beegfs", "beegfs_nodev", "orangefs", "pvfs2", "ocfs2", "gfs2", "panfs", "davfs", "vboxsf", "prl_fs",
    "vmhgfs", "drvfs",
})
# fmt: on
# fmt: off
_NETWORK_FUSE = frozenset({
    "sshfs", "glusterfs", "ceph", "cephfs", "s3fs", "gcsfuse", "rclone", "goofys", "mountpoint-s3", "mount-s3",
    "juicefs", "JuiceFS", "blobfuse", "blobfuse2", "davfs", "davfs2", "curlftpfs", "seaweedfs", "weed", "mfs",
    "moosefs", "hdfs", "alluxio-fuse", "gvfsd-fuse", "kio-fuse", "onedriver", "smbnetfs", "google-drive-ocamlfuse",
    "vmhgfs-fuse", "osxfs", "grpcfuse", "dropbox",
})
# fmt: on
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table: where, of which type, from what."""

    point: str
    type: str
    source: str

    @property
    def is_network(self) -> bool:
        """Whether another machine may have it as well.

        What the whole system runs from is its own disk, whatever brings it there: sandboxes have a root of type 9p.
        """
        if self.point == "/":
            return False
        kind, _, program = self.type.partition(".")
        return program in _NETWORK_FUSE if kind == "fuse" and program else self.type in _NETWORK


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """The mount that an absolute path without links lies on, read from the text of `/proc/self/mountinfo`."""
    found: Mount | None = None
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        fields, last = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 5 or len(last) < 2:
            continue
        point = _plain(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two at one place the later one hides the earlier.
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(point, last[0], _plain(last[1]))
    return found


def network_mount(path: Path, mounts: Path = MOUNTS) -> Mount | None:
    """The network file system that a path lies on, or will once it is made; None for a disk of this machine."""
    try:
        table = mounts.read_text(errors="surrogateescape")
    except OSError:
        return None  # a system without that table
    nearest = next(one for one in (path, *path.parents) if one.exists() or one == one.parent)
    found = mount_of(os.path.realpath(nearest), table)
    return found if found is not None and found.is_network else None


def _plain(field: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
