"""The SQLite log: open, group commit, tail, retention, the writer's lock. Knows not what it stores."""

from kaos_ext.store.commit import GroupCommit
from kaos_ext.store.errors import CommitFailed, DamagedError, FormatError, FullError, LockedError, StoreError, is_full
from kaos_ext.store.log import Log, Row, Schema, Sync, Value
from kaos_ext.store.tail import follow

__all__ = [
    "CommitFailed",
    "DamagedError",
    "FormatError",
    "FullError",
    "GroupCommit",
    "LockedError",
    "Log",
    "Row",
    "Schema",
    "StoreError",
    "Sync",
    "Value",
    "follow",
    "is_full",
]
