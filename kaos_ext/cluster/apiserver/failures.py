"""Refusals: each function gives the `ApiError` whose Status is, word for word, the real server's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from kaos_ext.cluster.apiserver.schema.errors import FieldError, joined
from kaos_ext.kube.objects import ApiError
from kaos_ext.store import StoreError, is_full


class Named(Protocol):
    """What a refusal needs to know of a resource."""

    @property
    def group(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def kind(self) -> str: ...


def status(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    if message:
        body["message"] = message
    if reason:
        body["reason"] = reason
    if details is not None:
        body["details"] = details
    body["code"] = code
    return body


def failure(code: int, reason: str, message: str, details: dict[str, Any] | None = None, hint: str = "") -> ApiError:
    return ApiError(status(code, reason, message, details), hint=hint)


def _details(name: str, group: str, kind: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    details["kind"] = kind
    details.update(more)
    return details


def qualified(name: str, group: str) -> str:
    return f"{name}.{group}" if group else name


def not_found(resource: Named, name: str) -> ApiError:
    return failure(
        404,
        "NotFound",
        f'{qualified(resource.plural, resource.group)} "{name}" not found',
        _details(name, resource.group, resource.plural),
    )


def no_such_resource() -> ApiError:
    return failure(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Named, name: str, *, deleting: bool = False) -> ApiError:
    prefix = "object is being deleted: " if deleting else ""
    return failure(
        409,
        "AlreadyExists",
        f'{prefix}{qualified(resource.plural, resource.group)} "{name}" already exists',
        _details(name, resource.group, resource.plural),
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: Named, name: str, why: str = MODIFIED) -> ApiError:
    return failure(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(resource.plural, resource.group)} "{name}": {why}',
        _details(name, resource.group, resource.plural),
    )


def precondition_failed(resource: Named, name: str, why: str) -> ApiError:
    return failure(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(resource.kind, resource.group)} "{name}": {why}',
        _details(name, resource.group, resource.kind),
    )


def forbidden(resource: Named, name: str, why: str, **more: Any) -> ApiError:
    shown = f' "{name}"' if name else ""
    return failure(
        403,
        "Forbidden",
        f"{qualified(resource.plural, resource.group)}{shown} is forbidden: {why}",
        _details(name, resource.group, resource.plural, **more),
    )


def bad_request(message: str) -> ApiError:
    return failure(400, "BadRequest", message)


def method_not_allowed(resource: Named | None = None, verb: str = "") -> ApiError:
    """With a resource: as custom resources say it."""
    if resource is not None:
        shown = qualified(resource.plural, resource.group)
        words = f'{verb} is not supported on resources of kind "{shown}"'
        return failure(405, "MethodNotAllowed", words, {"group": resource.group, "kind": resource.plural})
    return failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unauthorized() -> ApiError:
    return failure(401, "Unauthorized", "Unauthorized")


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    return failure(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}",
    )


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    return failure(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(accepted)}")


def too_large(limit: int) -> ApiError:
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def internal(message: str) -> ApiError:
    return failure(500, "", message)


def internal_error(why: str) -> ApiError:
    return failure(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})


def not_stored(error: StoreError) -> ApiError:
    """What could not be written; a full disk as the real server says it, which gives no reason (and asks no retry)."""
    if is_full(error):
        return internal(
            "etcdserver: mvcc: database space exceeded: the disk that holds the cluster's state is full; what was "
            "stored is safe, writes go on as soon as there is space"
        )
    return internal_error(f"the change could not be stored: {error}")


def unavailable(message: str) -> ApiError:
    return failure(503, "ServiceUnavailable", message)


def expired(message: str) -> ApiError:
    return failure(410, "Expired", message)


def future_version(asked: int, current: int) -> ApiError:
    return failure(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def invalid(group: str, kind: str, name: str, complaints: Sequence[FieldError]) -> ApiError:
    """422: every complaint is a cause; the message lists them, each wording once."""
    causes = [one.cause() for one in complaints]
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    details["causes"] = causes
    return failure(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {joined(complaints)}', details)
