"""Authentication: bearer tokens of the configuration, tokens of service accounts, client certificates.

A service account's token is an ES256 JWT that this server signed (`Tokens.issue`). It counts only while its account,
and the pod or secret it is bound to, exist with the uids it names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from kaos_ext.cluster.apiserver.authz.rules import quoted
from kaos_ext.cluster.apiserver.identity import AUTHENTICATED, UserInfo

ISSUER = "https://kubernetes.default.svc.cluster.local"
_CLAIM = "kubernetes.io"
_KEPT_ISSUER, _KEPT = "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/"

Exists = Callable[[str, str, str, str], bool]
"""(resource plural, namespace, name, uid): whether that object lives."""
Kept = Callable[[str, str], str | None]
"""(namespace, name): the token that a Secret keeps."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The object a token dies with."""

    kind: str
    name: str
    uid: str


class TokenError(Exception):
    """A token that does not count; its text says why, empty for one that is none of ours."""


class Tokens:
    """Signs and checks tokens of service accounts."""

    def __init__(self, key_file: Path, exists: Exists, kept: Kept = lambda namespace, name: None) -> None:
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} holds no elliptic-curve key")
        self._private = key
        self._public = key.public_key()
        der = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._key_id = hashlib.sha256(der).hexdigest()[:16]
        self._exists = exists
        self._kept = kept
        self._checked: dict[bytes, dict[str, Any]] = {}

    def public_key(self) -> dict[str, Any]:
        """The key tokens are checked with, as a JSON Web Key."""
        key: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self._public, as_dict=True)
        return {**key, "use": "sig", "kid": self._key_id, "alg": "ES256"}

    def issue(
        self, namespace: str, name: str, uid: str, audiences: list[str], seconds: int, bound: Bound | None
    ) -> tuple[str, int]:
        """A token, and when it expires (seconds since 1970)."""
        now = int(time.time())
        about: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if bound is not None:
            about[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "jti": str(uuid4()),
            _CLAIM: about,
        }
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"kid": self._key_id}), now + seconds

    def issue_kept(self, namespace: str, name: str, uid: str, secret: str) -> str:
        """A token that a Secret keeps; it ends with the Secret or the account."""
        claims = {
            "iss": _KEPT_ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            f"{_KEPT}namespace": namespace,
            f"{_KEPT}secret.name": secret,
            f"{_KEPT}service-account.name": name,
            f"{_KEPT}service-account.uid": uid,
        }
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"kid": self._key_id})

    def user(self, token: str, audiences: tuple[str, ...] = (ISSUER,)) -> tuple[UserInfo, list[str]]:
        """Who the token says, and which of `audiences` it is for; TokenError when it does not count."""
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._checked.get(digest)
        if claims is None:
            try:
                claims = jwt.decode(
                    token,
                    self._public,
                    algorithms=["ES256"],
                    issuer=[ISSUER, _KEPT_ISSUER],
                    options={"require": ["iss", "sub"], "verify_aud": False, "verify_exp": False},
                )
                if claims["iss"] == ISSUER and not {"exp", "iat", _CLAIM} <= claims.keys():
                    raise TokenError
            except jwt.InvalidTokenError:
                raise TokenError from None
            if len(self._checked) > 4096:
                self._checked.clear()
            self._checked[digest] = claims
        if claims["iss"] == _KEPT_ISSUER:
            return self._kept_user(claims, token), [one for one in audiences if one == ISSUER]
        if claims["exp"] <= time.time():
            raise TokenError("service account token has expired")
        meant = [one for one in audiences if one in claims["aud"]]
        if not meant:
            raise TokenError(
                f"token audiences {quoted(claims['aud'])} is invalid for the target audiences {quoted(audiences)}"
            )
        self._check_alive(claims[_CLAIM])
        return _user(claims), meant

    def _kept_user(self, claims: Mapping[str, Any], token: str) -> UserInfo:
        namespace, name = claims[f"{_KEPT}namespace"], claims[f"{_KEPT}service-account.name"]
        uid, secret = claims[f"{_KEPT}service-account.uid"], claims[f"{_KEPT}secret.name"]
        if not self._exists("serviceaccounts", namespace, name, uid):
            raise TokenError(f'serviceaccounts "{name}" not found')
        if self._kept(namespace, secret) != token:
            raise TokenError("Token has been invalidated")
        return UserInfo(claims["sub"], uid, _groups(namespace), {})

    def _check_alive(self, about: Mapping[str, Any]) -> None:
        namespace, account = about["namespace"], about["serviceaccount"]
        if not self._exists("serviceaccounts", namespace, account["name"], account["uid"]):
            raise TokenError(f'serviceaccounts "{account["name"]}" not found')
        for kind in ("pod", "secret", "node"):
            bound = about.get(kind)
            place = "" if kind == "node" else namespace
            if bound and not self._exists(f"{kind}s", place, bound["name"], bound["uid"]):
                raise TokenError(f'{kind}s "{bound["name"]}" not found')


def _user(claims: Mapping[str, Any]) -> UserInfo:
    about = claims[_CLAIM]
    extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
    if "pod" in about:
        extra["authentication.kubernetes.io/pod-name"] = (about["pod"]["name"],)
        extra["authentication.kubernetes.io/pod-uid"] = (about["pod"]["uid"],)
    return UserInfo(
        claims["sub"],
        about["serviceaccount"]["uid"],
        _groups(about["namespace"]),
        extra,
    )


def _groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)


class Authenticator:
    """Finds out who sent a request."""

    def __init__(self, tokens: Mapping[str, UserInfo], service_accounts: Tokens | None) -> None:
        self._static = {hashlib.sha256(token.encode()).digest(): user for token, user in tokens.items()}
        self._service_accounts = service_accounts

    def user(self, authorization: str | None, certificate: Mapping[str, Any] | None) -> UserInfo | None:
        """The user of a client certificate or of an Authorization header; None when neither counts."""
        if certificate and (found := _certificate_user(certificate)) is not None:
            return found
        scheme, _, token = (authorization or "").partition(" ")
        return self.token_user(token.strip()) if scheme.lower() == "bearer" else None

    def token_user(self, token: str) -> UserInfo | None:
        found = self._static.get(hashlib.sha256(token.encode()).digest())
        if found is not None:
            return found
        if self._service_accounts is None or not token:
            return None
        try:
            return self._service_accounts.user(token)[0]
        except TokenError:
            return None


def _certificate_user(certificate: Mapping[str, Any]) -> UserInfo | None:
    names: dict[str, list[str]] = {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            names.setdefault(key, []).append(value)
    if not names.get("commonName"):
        return None
    return UserInfo(names["commonName"][0], groups=(*names.get("organizationName", ()), AUTHENTICATED))
