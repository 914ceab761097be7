"""Security contexts, of a Pod and of its containers."""

from __future__ import annotations

from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError

Object = dict[str, Any]

_IDS = ("runAsUser", "runAsGroup", "fsGroup")
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")


def security_errors(context: Object, path: str) -> list[FieldError]:
    found = [
        errors.invalid(f"{path}.{key}", context[key], "must be between 0 and 2147483647, inclusive")
        for key in _IDS
        if context.get(key) is not None and not 0 <= context[key] <= 2**31 - 1
    ]
    profile = context.get("seccompProfile")
    if profile is not None:
        kind, local = profile.get("type") or "", profile.get("localhostProfile")
        if kind == "Localhost" and not local:
            words = "must be set when seccomp type is Localhost"
            found.append(errors.required(f"{path}.seccompProfile.localhostProfile", words))
        elif kind != "Localhost" and local is not None:
            words = "can only be set when seccomp type is Localhost"
            found.append(errors.invalid(f"{path}.seccompProfile.localhostProfile", local, words))
        if not kind:
            found.append(errors.required(f"{path}.seccompProfile.type", "type is required when seccompProfile is set"))
        elif kind not in _SECCOMP:
            found.append(errors.not_supported(f"{path}.seccompProfile.type", kind, _SECCOMP))
    if context.get("privileged") and context.get("allowPrivilegeEscalation") is False:
        members = "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot "
        members += "readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile"
        shown = {
            ("SELinuxOptions" if key == "seLinuxOptions" else key[0].upper() + key[1:]): context.get(key)
            for key in members.split()
        }
        why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        found.append(errors.invalid(path, shown, why))
    return found
