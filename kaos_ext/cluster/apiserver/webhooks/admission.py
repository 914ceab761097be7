"""Webhooks at work: mutating ones one after the other, then, on the finished object, validating ones all at once.

A webhook that cannot be asked, or gives no answer, refuses the write unless its failurePolicy is Ignore. Objects that
a mutating one changed are not shown again to those before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from kaos_ext.cluster.apiserver import failures
from kaos_ext.cluster.apiserver.identity import UserInfo
from kaos_ext.cluster.apiserver.metadata import copied
from kaos_ext.cluster.apiserver.registry import Registry, Served
from kaos_ext.cluster.apiserver.storage import Collection, Storage
from kaos_ext.cluster.apiserver.webhooks import reviews
from kaos_ext.cluster.apiserver.webhooks.calls import CallError, Calls
from kaos_ext.cluster.apiserver.webhooks.matching import EXEMPT, Webhook, Write, webhooks_of
from kaos_ext.cluster.apiserver.webhooks.reviews import BadAnswer
from kaos_ext.kube.objects import Object

log = logging.getLogger(__name__)
_GROUP = "admissionregistration.k8s.io"


class Webhooks:
    """The admission webhooks of one server."""

    def __init__(self, storage: Storage, registry: Registry) -> None:
        self._registry = registry
        self._namespaces = storage.collection("/namespaces")
        self._mutating = storage.collection(f"{_GROUP}/mutatingwebhookconfigurations")
        self._validating = storage.collection(f"{_GROUP}/validatingwebhookconfigurations")
        self._calls = Calls(storage)

    async def close(self) -> None:
        await self._calls.close()

    def concern(self, served: Served) -> bool:
        """Whether there is anybody to ask at all."""
        return bool(self._mutating.count or self._validating.count) and served.plural not in EXEMPT

    async def mutate(self, write: Write, user: UserInfo, warnings: list[str]) -> Write:
        """The write as the mutating webhooks want it; refused when one denies it.

        One that asks for it (`reinvocationPolicy: IfNeeded`) is asked once more when a later one changed the object.
        """
        asked: list[tuple[Webhook, str, Write]] = []
        for webhook, version in self._matching(self._mutating, write):
            if not webhook.selects(write, self._labels(write)):
                continue
            write = await self._changed(webhook, version, write, user, warnings)
            asked.append((webhook, version, write))
        for webhook, version, left in asked:
            again = webhook.given.get("reinvocationPolicy") == "IfNeeded" and left.new != write.new
            if again and webhook.selects(write, self._labels(write)):
                write = await self._changed(webhook, version, write, user, warnings)
        return write

    async def _changed(
        self, webhook: Webhook, version: str, write: Write, user: UserInfo, warnings: list[str]
    ) -> Write:
        """The write as one mutating webhook leaves it."""
        response = await self._ask(webhook, version, write, user, warnings)
        if response is None or write.new is None:
            return write
        try:
            changed = reviews.patched(write.new, response)
        except BadAnswer as error:
            if webhook.forgiving:
                log.warning("webhook %s: %s", webhook.name, error)
                return write
            raise failures.internal_error(f'failed calling webhook "{webhook.name}": {error}') from None
        if changed is write.new:
            return write
        return write.with_new({**copied(changed), "apiVersion": write.served.api_version})

    async def validate(self, write: Write, user: UserInfo, warnings: list[str]) -> None:
        asked = [
            self._ask(webhook, version, write, user, warnings)
            for webhook, version in self._concerned(self._validating, write)
        ]
        if not asked:
            return
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _concerned(self, collection: Collection, write: Write) -> Iterator[tuple[Webhook, str]]:
        for webhook, version in self._matching(collection, write):
            if webhook.selects(write, self._labels(write)):
                yield webhook, version

    def _matching(self, collection: Collection, write: Write) -> Iterator[tuple[Webhook, str]]:
        """Those whose rules speak of the write."""
        if not collection.count:
            return
        versions = frozenset(
            one for one in self._registry.versions(write.served.group) if self._serves(write.served, one)
        )
        for webhook in webhooks_of([stored.object for stored in collection.scan()]):
            version = webhook.concerns(write, versions)
            if version:
                yield webhook, version

    def _serves(self, served: Served, version: str) -> bool:
        found = self._registry.find(served.group, version, served.plural)
        return found is not None and found.storage == served.storage

    def _labels(self, write: Write) -> Mapping[str, Any] | None:
        """Labels of the namespace a write is in (or is); None when it is in none."""
        if write.served.storage == "/namespaces":
            object = write.new or write.old or {}
            return (object.get("metadata") or {}).get("labels") or {}
        if not write.namespace:
            return None
        found = self._namespaces.get("", write.namespace)
        return (found.object["metadata"].get("labels") or {}) if found else {}

    async def _ask(
        self, webhook: Webhook, version: str, write: Write, user: UserInfo, warnings: list[str]
    ) -> Object | None:
        """The response of a webhook that allows it; None when it is passed over."""
        review = reviews.question(write, user, version)
        try:
            if not _conditions_hold(webhook, review["request"]):
                return None
            if write.dry_run and not webhook.silent:
                raise failures.bad_request(f'admission webhook "{webhook.name}" does not support dry run')
            answered = await self._calls.ask(webhook.given.get("clientConfig") or {}, review, webhook.seconds)
            response = reviews.response_of(review, answered)
        except (CallError, BadAnswer) as error:
            if webhook.forgiving:
                log.warning("webhook %s was passed over: %s", webhook.name, error)
                return None
            raise failures.internal_error(f'failed calling webhook "{webhook.name}": {error}') from None
        warnings += [str(one) for one in response.get("warnings") or ()]
        if not response.get("allowed"):
            raise reviews.denial(webhook.name, response)
        return response


def _conditions_hold(webhook: Webhook, request: Object) -> bool:
    conditions = webhook.given.get("matchConditions") or ()
    if not conditions:
        return True
    from kaos_ext.cluster.apiserver.cel.evaluator import EvaluationError, Program
    from kaos_ext.cluster.apiserver.cel.syntax import CelSyntaxError, parse

    variables = {"object": request["object"], "oldObject": request["oldObject"], "request": request}
    error: Exception | None = None
    for condition in conditions:
        try:
            if Program(parse(condition["expression"])).run(variables) is not True:
                return False
        except (EvaluationError, CelSyntaxError) as failed:
            error = failed
    if error is not None:
        raise CallError(f"its match conditions cannot be evaluated: {error}")
    return True
