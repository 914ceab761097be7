"""Budget: how much an agent may use up, in one vocabulary for every bound.

    amount   how much of each resource: iterations, steps, model and tool calls, tokens, cost, seconds of work
    scope    over what it is counted: one iteration, one task (or chat request), one day (UTC), the agent's life
    Budget   the limits of each scope, and the user's own price list

A resource that a scope does not name is not limited there. A cost limit needs the price of the model
(`Budget.unpriced`): without one it could not be kept. Who spent what is accounted for in `kaos_ext.loop.ledger`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.model.values import changed


class PriceUnknownError(KaosError):
    """There is a cost limit and no price for the model."""

    reason = "PriceUnknown"


class Resource(StrEnum):
    """What is used up, by its name on the wire."""

    ITERATIONS = "iterations"
    STEPS = "steps"
    """Model calls that were answered, with the tool calls they asked for."""
    MODEL_CALLS = "modelCalls"
    """Model calls that were made, lost ones and repeated ones included."""
    TOOL_CALLS = "toolCalls"
    TOKENS = "tokens"
    COST = "cost"
    WALL_SECONDS = "wallSeconds"
    """Time in which an iteration was worked at: no pauses, no time in which the process was dead."""


class Scope(StrEnum):
    """Over what is counted, by its name on the wire."""

    ITERATION = "perIteration"
    TASK = "perTask"
    DAY = "perDay"
    LIFE = "life"


@dataclass(frozen=True)
class Amounts:
    """How much of each resource. As a limit, what is None does not bind; as spending, None is nothing yet."""

    iterations: int | None = None
    steps: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    wall_seconds: float | None = None

    def get(self, resource: Resource) -> float | None:
        value: float | None = getattr(self, _FIELDS[resource])
        return value

    def items(self) -> Iterator[tuple[Resource, float]]:
        """The resources that have an amount."""
        for resource in Resource:
            value = self.get(resource)
            if value is not None:
                yield resource, value

    def plus(self, other: Amounts) -> Amounts:
        if other is NOTHING:
            return self
        if self is NOTHING:
            return other
        own = self.__dict__
        sums = {
            name: value if own[name] is None else own[name] + value
            for name, value in other.__dict__.items()
            if value is not None
        }
        return changed(self, **sums)

    def to_json(self) -> dict[str, float]:
        return {resource.value: value for resource, value in self.items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Amounts:
        amounts: dict[str, Any] = {}
        for key, given in value.items():
            resource = _RESOURCES.get(key)
            if resource is None:
                names = ", ".join(resource.value for resource in Resource)
                raise UsageError(f"a budget knows no {key!r}", hint=f"it knows {names}")
            if given is None:
                continue
            if isinstance(given, bool) or not isinstance(given, int | float) or given < 0:
                raise UsageError(f"the budget's {key} is {given!r}", hint="a number of at least 0 is needed")
            amounts[_FIELDS[resource]] = given if resource in _FRACTIONS else int(given)
        return cls(**amounts)


_FIELDS: dict[Resource, str] = {
    Resource.ITERATIONS: "iterations",
    Resource.STEPS: "steps",
    Resource.MODEL_CALLS: "model_calls",
    Resource.TOOL_CALLS: "tool_calls",
    Resource.TOKENS: "tokens",
    Resource.COST: "cost",
    Resource.WALL_SECONDS: "wall_seconds",
}
_RESOURCES: dict[str, Resource] = {resource.value: resource for resource in Resource}
_FRACTIONS = frozenset({Resource.COST, Resource.WALL_SECONDS})
NOTHING = Amounts()


@dataclass(frozen=True, slots=True)
class Price:
    """Of one model, for a million tokens, in the user's own currency."""

    input: float = 0.0
    output: float = 0.0

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of every scope. The empty budget limits nothing."""

    limits: Mapping[Scope, Amounts] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By model name; a name may hold `*`."""
    currency: str = ""

    def __bool__(self) -> bool:
        return bool(self.limits) and any(any(True for _ in amounts.items()) for amounts in self.limits.values())

    def limit(self, scope: Scope) -> Amounts:
        return self.limits.get(scope, NOTHING)

    def price(self, model: str) -> Price | None:
        """Of a model: its own entry, else the first pattern that matches."""
        own = self.prices.get(model)
        if own is not None:
            return own
        return next((price for name, price in self.prices.items() if fnmatchcase(model, name)), None)

    def limits_cost(self) -> bool:
        return any(amounts.cost is not None for amounts in self.limits.values())

    def check(self, model: str) -> None:
        """Raises PriceUnknownError when a cost limit could not be kept for this model."""
        if self.limits_cost() and self.price(model) is None:
            raise PriceUnknownError(
                f"the budget limits the cost, and has no price for the model {model!r}",
                hint="add it to spec.config.budget.prices",
            )

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            scope.value: amounts.to_json() for scope, amounts in self.limits.items() if amounts.to_json()
        }
        if self.prices:
            value["prices"] = {
                name: {"inputPerMillion": price.input, "outputPerMillion": price.output}
                for name, price in self.prices.items()
            }
        return value | ({"currency": self.currency} if self.currency else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Budget:
        limits = {scope: Amounts.from_json(value[scope.value]) for scope in Scope if value.get(scope.value)}
        prices = {
            str(name): Price(float(price.get("inputPerMillion") or 0), float(price.get("outputPerMillion") or 0))
            for name, price in (value.get("prices") or {}).items()
        }
        return cls(limits, prices, str(value.get("currency") or ""))

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Of its JSON text; the empty text is the empty budget."""
        if not text.strip():
            return cls()
        try:
            value = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the budget is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UsageError("the budget is no JSON object")
        return cls.from_json(value)
