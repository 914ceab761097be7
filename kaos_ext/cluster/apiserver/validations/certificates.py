"""Certificate signing requests: what is asked for, and that decisions stay."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from kaos_ext.cluster.apiserver.schema import errors
from kaos_ext.cluster.apiserver.schema.errors import FieldError

Object = dict[str, Any]

_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_STAY = ("Approved", "Denied", "Failed")
_NO_SIGNER = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def request_errors(new: Object, old: Object | None) -> list[FieldError]:
    if old is not None:
        return []
    spec = new.get("spec") or {}
    found: list[FieldError] = []
    given = spec.get("request") or ""
    if not _is_request(given):
        found.append(errors.invalid("spec.request", given, "PEM block type must be CERTIFICATE REQUEST"))
    usages = spec.get("usages") or []
    if not usages:
        found.append(errors.required("spec.usages"))
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            found.append(errors.not_supported(f"spec.usages[{index}]", usage, _USAGES))
        elif usage in usages[:index]:
            found.append(errors.duplicate(f"spec.usages[{index}]", usage))
    signer = spec.get("signerName") or ""
    if not signer:
        found.append(errors.required("spec.signerName"))
    elif "/" not in signer or "." not in signer.partition("/")[0]:
        found.append(errors.invalid("spec.signerName", signer, _NO_SIGNER))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(errors.invalid("spec.expirationSeconds", seconds, why))
    return found


def _is_request(text: str) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE REQUEST-----" in base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return False


def decision_errors(new: Object, old: Object) -> list[FieldError]:
    """Who was approved or denied stays so."""
    after, before = _kinds(new), _kinds(old)
    path = "status.conditions"
    found = [
        errors.forbidden(path, f'updates may not remove a condition of type "{kind}"')
        for kind in _STAY
        if kind in before and kind not in after
    ]
    if {"Approved", "Denied"} <= after:
        found.append(errors.invalid(path, "Denied", "Approved and Denied conditions are mutually exclusive"))
    return found


def _kinds(csr: Object) -> set[str]:
    return {one.get("type", "") for one in (csr.get("status") or {}).get("conditions") or ()}
