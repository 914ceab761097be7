"""Which disk a path lies on, from the table of mounts alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaos_ext.store.place import mount_of, network_mount

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /home rw,relatime shared:5 master:2 - nfs4 server:/export/home rw,vers=4.2
31 30 0:41 / /home/ann/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/with\040space rw - cifs //server/share rw
33 22 0:43 / /mnt/laptop rw - fuse.sshfs ann@laptop:/ rw
34 22 0:44 / /mnt/usb rw - fuseblk /dev/sdb1 rw
35 22 0:45 / /mnt/union rw - fuse.mergerfs a:b rw
36 22 0:46 / /mnt/c rw - 9p drvfs rw
37 22 0:47 / /over rw - nfs server:/x rw
38 37 0:48 / /over rw - tmpfs tmpfs rw
39 22 0:49 / /cluster rw - lustre mgs@tcp:/scratch rw
40 22 0:50 /sub /bind rw - ext4 /dev/vda rw
not a line of the table
"""


@pytest.mark.parametrize(
    ("path", "type", "network"),
    [
        ("/root/.local/share/kaos", "ext4", False),
        ("/home/ann/.local/share/kaos", "nfs4", True),
        ("/home", "nfs4", True),
        ("/homework", "ext4", False),
        ("/home/ann/local/kaos", "xfs", False),
        ("/mnt/with space/kaos", "cifs", True),
        ("/mnt/laptop/kaos", "fuse.sshfs", True),
        ("/mnt/usb/kaos", "fuseblk", False),
        ("/mnt/union/kaos", "fuse.mergerfs", False),
        ("/mnt/c/Users/ann", "9p", True),
        ("/over/kaos", "tmpfs", False),
        ("/cluster/kaos", "lustre", True),
        ("/bind/kaos", "ext4", False),
    ],
)
def test_a_path_lies_on_the_nearest_mount(path: str, type: str, network: bool) -> None:
    found = mount_of(path, TABLE)
    assert found is not None
    assert (found.type, found.is_network) == (type, network)


def test_what_the_whole_system_runs_from_is_its_own_disk() -> None:
    """Sandboxes and machines without a disk have a root that is served to them, and nothing else."""
    found = mount_of("/tmp/kaos", "20 1 0:1 / / rw - 9p none rw,trans=fd\n")
    assert found is not None and not found.is_network


def test_links_are_followed_and_what_is_not_there_yet_lies_where_it_will(tmp_path: Path) -> None:
    far, table = tmp_path / "far", tmp_path / "mountinfo"
    far.mkdir()
    (tmp_path / "link").symlink_to(far)
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {far} rw - nfs server:/far rw\n")
    found = network_mount(tmp_path / "link" / "not" / "there", table)
    assert found is not None and found.source == "server:/far"
    assert network_mount(tmp_path / "near", table) is None
    assert network_mount(tmp_path, tmp_path / "no-such-table") is None, "another system: nothing is known"
