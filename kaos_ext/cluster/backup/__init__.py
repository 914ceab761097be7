"""A cluster in one file: taken while it runs, restored on this machine or another, under its name or a new one."""

from kaos_ext.cluster.backup.manifest import Manifest
from kaos_ext.cluster.backup.restoring import Restored, restore
from kaos_ext.cluster.backup.saving import Saved, save

__all__ = ["Manifest", "Restored", "Saved", "restore", "save"]
