"""Questions about identity and rights, answered at once. Rights are stored, not yet enforced: every user may do all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.auth import ISSUER, Authenticator, Bound, Tokens
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.metadata import timestamp
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import invalid, required
from kaos_ext.cluster.apiserver.storage import Storage
from kaos_ext.kube.objects import ApiError, Object

_REASON = "every authenticated user is allowed everything here"
MIN_SECONDS, MAX_SECONDS, USUAL_SECONDS = 600, 1 << 32, 3600


class Reviews:
    """Answers for one server."""

    def __init__(self, storage: Storage, authenticator: Authenticator, tokens: Tokens | None) -> None:
        self._storage = storage
        self._authenticator = authenticator
        self._tokens = tokens

    def answer(self, served: Served, body: Object, user: UserInfo, namespace: str) -> Object:
        """The answer to a POST of one of the review kinds."""
        spec = body.get("spec") or {}
        if served.kind == "SelfSubjectReview":
            return self._shown(served, None, {"userInfo": user.as_object()}, timed=True)
        if served.kind == "TokenReview":
            return self._shown(served, spec, self._token_status(spec))
        if served.kind == "SelfSubjectRulesReview":
            every = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
            status = {"resourceRules": every, "nonResourceRules": paths, "incomplete": False}
            return self._shown(served, {}, status)
        about = (spec.get("resourceAttributes") is not None) + (spec.get("nonResourceAttributes") is not None)
        if about != 1:
            why = "must specify oneof resourceAttributes or nonResourceAttributes"
            raise failures.invalid(served.group, served.kind, "", [invalid("spec.resourceAttributes", None, why)])
        if served.kind == "LocalSubjectAccessReview":
            within = (spec.get("resourceAttributes") or {}).get("namespace")
            if within != namespace:
                why = "must match metadata.namespace"
                path = "spec.resourceAttributes.namespace"
                raise failures.invalid(served.group, served.kind, "", [invalid(path, within, why)])
        return self._shown(served, spec, {"allowed": True, "reason": _REASON})

    @staticmethod
    def _shown(served: Served, spec: Object | None, status: Object, *, timed: bool = False) -> Object:
        metadata: Object = {"creationTimestamp": timestamp()} if timed else {}
        shown: Object = {"kind": served.kind, "apiVersion": served.api_version, "metadata": metadata}
        if spec is not None:
            shown["spec"] = spec
        shown["status"] = status
        return shown

    def _token_status(self, spec: Object) -> Object:
        token, audiences = spec.get("token") or "", tuple(spec.get("audiences") or (ISSUER,))
        if not token:
            why = [required("spec.token")]
            raise failures.invalid("authentication.k8s.io", "TokenReview", "", why)
        known = self._tokens.user(token, audiences) if self._tokens else None
        if known is not None:
            return {"authenticated": True, "user": known[0].as_object(), "audiences": known[1]}
        user = self._authenticator.token_user(token)
        if user is not None and audiences == (ISSUER,):
            return {"authenticated": True, "user": user.as_object(), "audiences": [ISSUER]}
        return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}

    def token(self, namespace: str, name: str, body: Object) -> Object:
        """A new token of a service account, as a TokenRequest answered."""
        account = self._storage.collection("/serviceaccounts").get(namespace, name)
        if account is None or self._tokens is None:
            raise _absent("serviceaccounts", name)
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
        bound = self._bound(namespace, spec.get("boundObjectRef"))
        uid = account.object["metadata"]["uid"]
        token, expires = self._tokens.issue(namespace, name, uid, audiences, seconds, bound)
        until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": timestamp()},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": until},
        }

    def _bound(self, namespace: str, reference: dict[str, Any] | None) -> Bound | None:
        if not reference:
            return None
        kind, name = reference.get("kind", ""), reference.get("name", "")
        plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if plural is None:
            raise failures.bad_request(
                f"cannot bind token to object of type {reference.get('apiVersion')}, Kind={kind}"
            )
        found = self._storage.collection(f"/{plural}").get("" if kind == "Node" else namespace, name)
        if found is None:
            raise _absent(plural, name)
        uid = found.object["metadata"]["uid"]
        if reference.get("uid") and reference["uid"] != uid:
            raise failures.failure(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {plural} "{name}": the UID in the bound object reference '
                f"({reference['uid']}) does not match the UID in record. The object might have been deleted and then "
                "recreated",
                {"name": name, "kind": plural},
            )
        return Bound(kind, name, uid)


def _absent(plural: str, name: str) -> ApiError:
    return failures.failure(404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural})
