"""Tokens of service accounts on request: `serviceaccounts/token`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kaos_ext.cluster.apiserver import failures, rules
from kaos_ext.cluster.apiserver.auth import ISSUER, Bound, Tokens
from kaos_ext.cluster.apiserver.metadata import timestamp
from kaos_ext.cluster.apiserver.registry import Served, served
from kaos_ext.cluster.apiserver.schema.errors import invalid
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import ApiError, Object, Resource

MIN_SECONDS, MAX_SECONDS, USUAL_SECONDS = 600, 1 << 32, 3600
_REQUESTS: Served = served(Resource("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True))


class TokenRequests:
    """Issues tokens for one server's accounts."""

    def __init__(self, storage: Storage, tokens: Tokens) -> None:
        self._storage = storage
        self._tokens = tokens

    def answer(self, namespace: str, name: str, body: Object, manager: str) -> Object:
        """A new token of a service account, as a TokenRequest answered."""
        account = self._storage.collection("/serviceaccounts").get(namespace, name)
        if account is None:
            raise _absent("serviceaccounts", name)
        given_meta = body.get("metadata") or {}
        if given_meta.get("name") not in (None, "", name):
            why = invalid("metadata.name", given_meta["name"], "must match the service account name if specified")
            raise failures.invalid("authentication.k8s.io", "TokenRequest", name, [why])
        if given_meta.get("namespace") not in (None, "", namespace):
            raise failures.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds")
        if seconds is None:
            seconds = USUAL_SECONDS
        complaints = []
        if seconds < MIN_SECONDS:
            complaints.append(
                invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
            )
        if seconds > MAX_SECONDS:
            complaints.append(
                invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
            )
        if complaints:
            raise failures.invalid("authentication.k8s.io", "TokenRequest", "", complaints)
        audiences = list(spec.get("audiences") or [ISSUER])
        bound = self._bound(namespace, name, spec.get("boundObjectRef"))
        uid = account.object["metadata"]["uid"]
        token, expires = self._tokens.issue(namespace, name, uid, audiences, seconds, bound)
        until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given = {key: spec[key] for key in ("audiences", "boundObjectRef") if spec.get(key)}
        asked = {"metadata": {}, "spec": {**given, "expirationSeconds": seconds}}
        managed = rules.managed_fields(_REQUESTS, None, asked, manager, "token")
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "creationTimestamp": timestamp(),
                "managedFields": managed,
            },
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": until},
        }

    def _bound(self, namespace: str, account: str, reference: dict[str, Any] | None) -> Bound | None:
        if not reference:
            return None
        kind, name = reference.get("kind", ""), reference.get("name", "")
        plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if plural is None:
            raise failures.bad_request(f"cannot bind token to object of type {_group_version(reference)}, Kind={kind}")
        found = self._storage.collection(f"/{plural}").get("" if kind == "Node" else namespace, name)
        if found is None:
            raise _absent(plural, name)
        uid = found.object["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            raise failures.failure(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object reference '
                f"({reference['uid']}) does not match the UID in record. The object might have been deleted and then "
                "recreated",
                {"name": name, "kind": kind},
            )
        if kind == "Pod" and (found.object.get("spec") or {}).get("serviceAccountName") != account:
            raise failures.bad_request(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        return Bound(kind, name, uid)


def _group_version(reference: dict[str, Any]) -> str:
    group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
    return f"{group}/{version}"


def _absent(plural: str, name: str) -> ApiError:
    return failures.failure(404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural})
