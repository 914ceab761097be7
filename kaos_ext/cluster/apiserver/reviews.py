"""Questions about identity and rights, answered at once and kept nowhere."""

from __future__ import annotations

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.auth import ISSUER, Authenticator, TokenError, Tokens
from kaos_ext.cluster.apiserver.authz import reviews as access_reviews
from kaos_ext.cluster.apiserver.authz.rbac import Rbac
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.metadata import timestamp
from kaos_ext.cluster.apiserver.registry import Served
from kaos_ext.cluster.apiserver.schema.errors import FieldError, invalid
from kaos_ext.kube.objects import Object


class Reviews:
    """Answers for one server."""

    def __init__(self, rbac: Rbac, authenticator: Authenticator, tokens: Tokens) -> None:
        self._rbac = rbac
        self._authenticator = authenticator
        self._tokens = tokens

    def answer(self, served: Served, body: Object, user: UserInfo, namespace: str) -> Object:
        """The answer to a POST of one of the review kinds."""
        spec = body.get("spec") or {}
        if served.kind == "SelfSubjectReview":
            meta = {"creationTimestamp": timestamp()}
            return _shown(served, {"userInfo": user.as_object()}, None, meta)
        if served.kind == "TokenReview":
            return _shown(served, self._token_status(spec), spec)
        if served.kind == "SelfSubjectRulesReview":
            if not spec.get("namespace"):
                raise failures.bad_request("no namespace on request")
            return _shown(served, access_reviews.rules_status(self._rbac, user, spec["namespace"]), {})
        complaints = _complaints(served, spec, namespace)
        if complaints:
            raise failures.invalid(served.group, "", "", complaints)
        who = user if served.kind == "SelfSubjectAccessReview" else access_reviews.subject_of(spec)
        status = access_reviews.access(self._rbac, who, access_reviews.attributes_of(spec))
        return _shown(served, status, spec, {"namespace": namespace} if served.namespaced else {})

    def _token_status(self, spec: Object) -> Object:
        token, audiences = spec.get("token") or "", tuple(spec.get("audiences") or (ISSUER,))
        if not token:
            raise failures.bad_request("token is required for TokenReview in authentication")
        try:
            user, meant = self._tokens.user(token, audiences)
        except TokenError as error:
            known = self._authenticator.token_user(token) if ISSUER in audiences else None
            if known is not None:
                return {"authenticated": True, "user": known.as_object(), "audiences": [ISSUER]}
            why_not = str(error)
            return {"user": {}, "error": f"[invalid bearer token, {why_not}]" if why_not else "invalid bearer token"}
        return {"authenticated": True, "user": user.as_object(), "audiences": meant}


def _shown(served: Served, status: Object, spec: Object | None = None, metadata: Object | None = None) -> Object:
    shown: Object = {"kind": served.kind, "apiVersion": served.api_version, "metadata": metadata or {}}
    if spec is not None:
        shown["spec"] = spec
    shown["status"] = status
    return shown


def _complaints(served: Served, spec: Object, namespace: str) -> list[FieldError]:
    about = (spec.get("resourceAttributes") is not None) + (spec.get("nonResourceAttributes") is not None)
    if about == 0:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid("spec.resourceAttributes", None, why)]
    if about > 1:
        why = "cannot be specified in combination with resourceAttributes"
        plain = spec["nonResourceAttributes"]
        shown = {"Path": plain.get("path") or "", "Verb": plain.get("verb") or ""}
        return [invalid("spec.nonResourceAttributes", shown, why)]
    if served.kind == "SelfSubjectAccessReview":
        return []
    if not spec.get("user") and not spec.get("groups"):
        return [invalid("spec.user", "", "at least one of user or group must be specified")]
    if served.kind == "LocalSubjectAccessReview":
        within = (spec.get("resourceAttributes") or {}).get("namespace") or ""
        if within != namespace:
            return [invalid("spec.resourceAttributes.namespace", within, "must match metadata.namespace")]
    return []
