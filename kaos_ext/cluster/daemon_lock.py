"""The daemon's lock: who holds it is the cluster's daemon, from the moment before it is started until it has ended.

An open file's lock goes with every copy of its descriptor, so whoever starts a daemon takes the lock and hands it down.
"""

from __future__ import annotations

import fcntl
import os

from kaos_ext.cluster.config import ClusterConfig
from kaos_ext.model.errors import KaosError


def hold(config: ClusterConfig) -> int:
    """The descriptor that holds the lock; KaosError when a daemon of the cluster lives."""
    lock = os.open(config.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise KaosError(
            f"another daemon runs cluster {config.name!r}", hint=f"`kaos down {config.name}`, then `kaos up`"
        ) from None
    return lock


def is_held(config: ClusterConfig) -> bool:
    """Whether a daemon of the cluster lives, even one that has only just been started and has written nothing yet."""
    try:
        os.close(hold(config))
    except KaosError:
        return True
    return False
