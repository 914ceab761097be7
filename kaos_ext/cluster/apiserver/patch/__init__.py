"""Patches: JSON patch, merge patch and strategic merge patch, each `(object, patch) -> new object`. Pure."""

from kaos_ext.cluster.apiserver.patch.errors import PatchError

__all__ = ["PatchError"]
