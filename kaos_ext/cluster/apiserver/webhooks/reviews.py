"""AdmissionReviews: the question to a webhook, and what its answer means. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.metadata import new_uid
from kaos_ext.cluster.apiserver.patch.errors import PatchError
from kaos_ext.cluster.apiserver.patch.json_patch import apply_json_patch
from kaos_ext.cluster.apiserver.webhooks.matching import Write
from kaos_ext.kube.objects import ApiError, Object


class BadAnswer(Exception):
    """A webhook's answer that is none."""


def question(write: Write, user: UserInfo, version: str) -> Object:
    """The AdmissionReview to send, with objects in `version`."""
    served = write.served
    api_version = f"{served.group}/{version}" if served.group else version
    kind = {"group": served.group, "version": version, "kind": served.kind}
    resource = {"group": served.group, "version": version, "resource": served.plural}
    request: Object = {
        "uid": new_uid(),
        "kind": kind,
        "resource": resource,
        "requestKind": {**kind, "version": served.version},
        "requestResource": {**resource, "version": served.version},
        "name": write.name,
        "namespace": write.namespace,
        "operation": write.operation,
        "userInfo": user.as_object(),
        "object": None if write.new is None else {**write.new, "apiVersion": api_version},
        "oldObject": None if write.old is None else {**write.old, "apiVersion": api_version},
        "dryRun": write.dry_run,
        "options": _options(write),
    }
    if write.subresource:
        request |= {"subResource": write.subresource, "requestSubResource": write.subresource}
    for key in ("name", "namespace"):
        if not request[key]:
            del request[key]
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def _options(write: Write) -> Object:
    kind = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}[write.operation]
    options: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if write.dry_run:
        options["dryRun"] = ["All"]
    return options


def response_of(asked: Object, answered: Any) -> Object:
    """The `response` of an answer to this question."""
    if not isinstance(answered, dict) or answered.get("kind") != "AdmissionReview":
        raise BadAnswer("the answer is no AdmissionReview")
    if answered.get("apiVersion") != "admission.k8s.io/v1":
        raise BadAnswer(
            f"received invalid webhook response: expected response apiVersion admission.k8s.io/v1, got "
            f"{answered.get('apiVersion')}"
        )
    response = answered.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if response.get("uid") != asked["request"]["uid"]:
        raise BadAnswer(
            f"received invalid webhook response: expected response.uid={json.dumps(asked['request']['uid'])}, got "
            f"{json.dumps(response.get('uid') or '')}"
        )
    return response


def denial(name: str, response: Mapping[str, Any]) -> ApiError:
    """The refusal of a webhook, as the client is told it."""
    result: Object = dict(response.get("status") or {})
    denied = f'admission webhook "{name}" denied the request'
    if result.get("message"):
        words = f"{denied}: {result['message']}"
    elif result.get("reason"):
        words = f"{denied}: {result['reason']}"
    else:
        words = f"{denied} without explanation"
    code = max(400, int(result.get("code") or 0))
    return failures.failure(code, str(result.get("reason") or ""), words, result.get("details"))


def patched(object: Object, response: Mapping[str, Any]) -> Object:
    """The object with the patch of a response."""
    encoded = response.get("patch")
    if not encoded:
        return object
    if response.get("patchType") != "JSONPatch":
        raise BadAnswer("received invalid webhook response: the patch is of no known type")
    try:
        return apply_json_patch(object, json.loads(base64.b64decode(encoded, validate=True)))
    except (ValueError, binascii.Error, PatchError) as error:
        raise BadAnswer(f"the patch cannot be applied: {error}") from None
