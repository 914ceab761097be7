"""What goes wrong, said so that the next step is plain: unknown names, missing CRDs, refused objects.

`view_of` is how every face draws an error: message, the server's reasons path by path, and a hint.
"""

from __future__ import annotations

from kaos_ext.commands.grammar import closest
from kaos_ext.commands.kinds import GROUP_PATH, Spoken
from kaos_ext.kube.client import KubeClient
from kaos_ext.kube.discovery import KindUnknown
from kaos_ext.kube.objects import NAMESPACES, ApiError, Object, is_conflict
from kaos_ext.model import names
from kaos_ext.model.errors import KaosError, UnknownNameError
from kaos_ext.views import ErrorView


class NotInstalledError(KaosError):
    """A cluster that does not know our kinds."""


def view_of(error: BaseException) -> ErrorView:
    if isinstance(error, KaosError):
        details = error.details
        if isinstance(error, ApiError):
            details = (*details, *(_cause(cause) for cause in error.causes))
        # What the message says already is not said again.
        return ErrorView(error.message, error.hint, tuple(d for d in dict.fromkeys(details) if d not in error.message))
    return ErrorView(f"{type(error).__name__}: {error}", hint="-v shows where")


def _cause(cause: dict[str, str]) -> str:
    return ": ".join(part for part in (cause.get("field", ""), cause.get("message", "")) if part)


async def get_existing(kube: KubeClient, spoken: Spoken, name: str) -> Object:
    """The object, or why there is none and what was meant."""
    try:
        return await kube.get(spoken.resource, name)
    except ApiError as error:
        raise await explain(kube, error, spoken, name) from error


async def explain(kube: KubeClient, error: ApiError, spoken: Spoken, name: str = "") -> KaosError:
    """A refusal about one of our objects in words of our verbs."""
    if error.code == 404:
        return await _explain_missing(kube, error, spoken, name)
    if is_conflict(error):
        return KaosError(
            error.message,
            hint=f"somebody else changed it: kaos {spoken.word} get {name} -o yaml",
            details=tuple(_cause(cause) for cause in error.causes),
        )
    return error


async def _explain_missing(kube: KubeClient, error: ApiError, spoken: Spoken, name: str) -> KaosError:
    details = error.status.get("details") or {}
    if details.get("kind") == NAMESPACES.plural and details.get("name"):
        return await no_namespace(kube, str(details["name"]))
    if not await is_installed(kube):
        return not_installed(kube)
    if not name:
        return error
    existing = [item["metadata"]["name"] for item in (await kube.list(spoken.resource, kube.namespace)).items]
    if not existing:
        await check_namespace(kube)
    meant = closest(name, existing)
    if meant:
        hint = f"did you mean `{meant}`?"
    else:
        hint = f"there are: {', '.join(sorted(existing)[:8])}" if existing else f"kaos {spoken.word} list -A"
    return UnknownNameError(f"there is no {spoken.kind.value} `{name}` in namespace {kube.namespace}", hint=hint)


async def no_namespace(kube: KubeClient, name: str) -> UnknownNameError:
    """The namespace is missing; which one was meant, as far as we may see them."""
    try:
        existing = [item["metadata"]["name"] for item in (await kube.list(NAMESPACES)).items]
    except ApiError:
        existing = []
    meant = closest(name, existing)
    hint = f"did you mean `{meant}`?" if meant else f"kubectl create namespace {name}"
    return UnknownNameError(f"there is no namespace `{name}` in the cluster of {kube.context_name}", hint=hint)


async def check_namespace(kube: KubeClient) -> None:
    """An empty answer may mean that there is no such namespace: say that instead, as far as we may see it."""
    try:
        await kube.get(NAMESPACES, kube.namespace)
    except ApiError as error:
        if error.code == 404:
            raise await no_namespace(kube, kube.namespace) from error


async def is_installed(kube: KubeClient) -> bool:
    try:
        await kube.raw(GROUP_PATH)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return True


def not_installed(kube: KubeClient) -> NotInstalledError:
    return NotInstalledError(
        f"the cluster of context `{kube.context_name}` does not have KAOS installed (no {names.GROUP} kinds)",
        hint="kaos system install, or another --context, or `kaos up` for a cluster on this machine",
    )


async def explain_kind(kube: KubeClient, error: KindUnknown) -> KaosError:
    """A kind of a manifest that the cluster does not have; an unknown word like any other."""
    if error.api_version == names.API_VERSION and not await is_installed(kube):
        return not_installed(kube)
    hint = error.hint or f"kubectl api-resources --api-group={error.api_version.rpartition('/')[0] or '””'}"
    unknown = UnknownNameError(error.message, hint=hint.replace("””", '""'))
    unknown.__cause__ = error
    return unknown
