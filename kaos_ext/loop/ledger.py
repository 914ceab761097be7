"""The ledger: what an agent has spent, a fold of the events of all its runs.

    model_request    reserves what the call will cost at least (its prompt), and counts a model call
    model_response   settles: the real tokens and cost instead of the reservation, and counts a step
    no response      the reservation stays spent when the process died or the call was cut off: it may have been billed
    tool_call        counts a tool call, from its intent on
    delegation_*     a child's lease is reserved as a whole and settled with what the child says it spent
    any event        of an open iteration: the time since the one before it, unless that was a pause or a death

Refusals are asked for before each call: `refusal(ledger, budget, run, now, Doing.MODEL)`. Reservations count as spent,
so runs beside each other overshoot a limit by no more than the call each of them is making.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kaos_ext.model.budget import NOTHING, Amounts, Budget, Resource, Scope
from kaos_ext.model.events import ITERATION_ENDS, LOOP_RUN, Event, EventType
from kaos_ext.model.values import changed

DAY_SECONDS = 86_400
CHARACTERS_PER_TOKEN = 4
"""For calls whose usage nobody reports: an estimate beats counting nothing."""


class Doing(StrEnum):
    """What is about to be done, and so which resources must be left."""

    START = "start"
    """An iteration."""
    MODEL = "model"
    TOOL = "tool"


_RESOURCES = {
    Doing.START: tuple(Resource),
    Doing.MODEL: (Resource.STEPS, Resource.MODEL_CALLS, Resource.TOKENS, Resource.COST, Resource.WALL_SECONDS),
    Doing.TOOL: (Resource.TOOL_CALLS, Resource.WALL_SECONDS),
}
_IDLE_AFTER = frozenset({EventType.PAUSED, EventType.APPROVAL_REQUESTED, EventType.LOOP_STOPPED})
_IDLE_BEFORE = frozenset({EventType.LOOP_STARTED, EventType.ITERATION_STARTED})
"""Around these the time is not worked: a pause, a person thinking, a process that is not there."""
_RUN_ENDS = frozenset({EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TASK_CANCELED})


@dataclass(frozen=True)
class Account:
    """One run that is not over."""

    iteration: Amounts = NOTHING
    """Spent in the open iteration, or the last one."""
    task: Amounts = NOTHING
    """Spent by the run."""
    reserved: Amounts | None = None
    """For the model call under way."""
    last: float | None = None
    """When the last event of the open iteration happened."""
    idle: bool = False
    """Nothing is worked at since then."""
    worked: float = 0.0
    """Seconds of the open iteration that are not in the amounts yet."""


@dataclass(frozen=True)
class Ledger:
    seq: int = 0
    day: int = 0
    """Days since the epoch of what `today` holds."""
    today: Amounts = NOTHING
    life: Amounts = NOTHING
    accounts: Mapping[str, Account] = field(default_factory=dict)
    leases: Mapping[str, Amounts] = field(default_factory=dict)
    """What children may still spend, by the id of the delegation."""

    def account(self, run: str) -> Account:
        return self.accounts.get(run) or Account()

    def spent(self, scope: Scope, run: str, now: float) -> Amounts:
        """What counts against a scope's limit at this time, reservations and work under way included."""
        account = self.account(run)
        if scope is Scope.ITERATION:
            return _with(account.iteration, now, (account,))
        if scope is Scope.TASK:
            return _with(account.task, now, (account,))
        spent = self.life if scope is Scope.LIFE else self.today if _day(now) == self.day else NOTHING
        return _with(spent, now, self.accounts.values(), self.leases.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "day": self.day,
            "today": self.today.to_json(),
            "life": self.life.to_json(),
            "leases": {id: lease.to_json() for id, lease in self.leases.items()},
            "accounts": {
                run: {
                    "iteration": account.iteration.to_json(),
                    "task": account.task.to_json(),
                    "reserved": None if account.reserved is None else account.reserved.to_json(),
                    "last": account.last,
                    "idle": account.idle,
                    "worked": account.worked,
                }
                for run, account in self.accounts.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ledger:
        accounts = {
            run: Account(
                Amounts.from_json(account["iteration"]),
                Amounts.from_json(account["task"]),
                None if account["reserved"] is None else Amounts.from_json(account["reserved"]),
                account["last"],
                account["idle"],
                account["worked"],
            )
            for run, account in value["accounts"].items()
        }
        leases = {id: Amounts.from_json(lease) for id, lease in value["leases"].items()}
        today, life = Amounts.from_json(value["today"]), Amounts.from_json(value["life"])
        return cls(value["seq"], value["day"], today, life, accounts, leases)


def estimated_tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def fold(ledger: Ledger, event: Event) -> Ledger:
    """The ledger after one more event; those it has seen change nothing."""
    if 0 < event.seq <= ledger.seq:
        return ledger
    if event.seq:
        ledger = changed(ledger, seq=event.seq)
    if not event.run:
        return ledger
    ledger = _timed(ledger, event)
    content = event.content if isinstance(event.content, Mapping) else {}
    match event.type:
        case EventType.LOOP_STARTED:
            return _lost(ledger, event)
        case EventType.ITERATION_STARTED:
            account = changed(ledger.account(event.run), iteration=NOTHING)
            return _charged(_kept(ledger, event.run, account), event, Amounts(iterations=1))
        case EventType.MODEL_REQUEST:
            ledger = _lost(ledger, event)
            reserved = Amounts.from_json(content.get("reserved") or {})
            ledger = _kept(ledger, event.run, changed(ledger.account(event.run), reserved=reserved))
            return _charged(ledger, event, Amounts(model_calls=1))
        case EventType.MODEL_RESPONSE:
            reserved = ledger.account(event.run).reserved or NOTHING
            ledger = _kept(ledger, event.run, changed(ledger.account(event.run), reserved=None))
            return _charged(ledger, event, _used(content, reserved))
        case EventType.TOOL_CALL:
            return _charged(ledger, event, Amounts(tool_calls=1))
        case EventType.DELEGATION_REQUEST if event.data.get("lease"):
            lease = Amounts.from_json(event.data["lease"])
            return changed(ledger, leases={**ledger.leases, str(event.data.get("call_id")): lease})
        case EventType.DELEGATION_RESPONSE | EventType.DELEGATION_ERROR:
            return _lease_settled(ledger, event)
        case kind if kind in ITERATION_ENDS:
            return _iteration_ended(ledger, event)
        case kind if kind in _RUN_ENDS:
            ledger = _lost(ledger, event)
            return changed(ledger, accounts={r: a for r, a in ledger.accounts.items() if r != event.run})
    return ledger


def _timed(ledger: Ledger, event: Event) -> Ledger:
    account = ledger.accounts.get(event.run)
    if account is None or account.last is None:
        if event.type != EventType.ITERATION_STARTED:
            return ledger
        return _kept(ledger, event.run, changed(account or Account(), last=event.time, idle=False, worked=0.0))
    unworked = account.idle or event.type in _IDLE_BEFORE
    worked = account.worked if unworked else account.worked + max(0.0, event.time - account.last)
    idle = event.type in _IDLE_AFTER
    return _kept(ledger, event.run, changed(account, last=event.time, idle=idle, worked=worked))


def _iteration_ended(ledger: Ledger, event: Event) -> Ledger:
    if event.type != EventType.ITERATION_FAILED:
        ledger = _lost(ledger, event)
    account = ledger.account(event.run)
    ledger = _kept(ledger, event.run, changed(account, reserved=None, last=None, worked=0.0))
    if account.worked:
        ledger = _charged(ledger, event, Amounts(wall_seconds=account.worked))
    if event.run != LOOP_RUN and not event.run.startswith("task_"):
        return changed(ledger, accounts={run: kept for run, kept in ledger.accounts.items() if run != event.run})
    return ledger


def _lost(ledger: Ledger, event: Event) -> Ledger:
    """A model call that never came to an answer keeps its reservation: it may have been billed."""
    account = ledger.accounts.get(event.run)
    if account is None or account.reserved is None:
        return ledger
    ledger = _kept(ledger, event.run, changed(account, reserved=None))
    return _charged(ledger, event, account.reserved)


def _lease_settled(ledger: Ledger, event: Event) -> Ledger:
    id = str(event.data.get("call_id"))
    lease = ledger.leases.get(id)
    if lease is None:
        return ledger
    said = event.data.get("spent")
    # A child that does not say what it spent may have spent all it was given.
    spent = lease if said is None else Amounts.from_json(said)
    ledger = changed(ledger, leases={other: kept for other, kept in ledger.leases.items() if other != id})
    return _charged(ledger, event, spent)


def _used(content: Mapping[str, Any], reserved: Amounts) -> Amounts:
    given = content.get("usage")
    usage = given if isinstance(given, Mapping) else {}
    if usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None:
        tokens = (reserved.tokens or 0) + estimated_tokens(len(str(content.get("text") or "")))
    else:
        tokens = int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0)
    cost = content.get("cost")
    return Amounts(steps=1, tokens=tokens, cost=None if cost is None else float(cost))


def _charged(ledger: Ledger, event: Event, amounts: Amounts) -> Ledger:
    day = _day(event.time)
    account = ledger.account(event.run)
    account = changed(account, iteration=account.iteration.plus(amounts), task=account.task.plus(amounts))
    return changed(
        ledger,
        day=day,
        today=(ledger.today if day == ledger.day else NOTHING).plus(amounts),
        life=ledger.life.plus(amounts),
        accounts={**ledger.accounts, event.run: account},
    )


def _kept(ledger: Ledger, run: str, account: Account) -> Ledger:
    return changed(ledger, accounts={**ledger.accounts, run: account})


def _with(spent: Amounts, now: float, accounts: Iterable[Account], leases: Iterable[Amounts] = ()) -> Amounts:
    """Spent, and what is reserved or under way."""
    for account in accounts:
        if account.reserved is not None:
            spent = spent.plus(account.reserved)
        if account.last is not None:
            worked = account.worked if account.idle else account.worked + max(0.0, now - account.last)
            spent = spent.plus(Amounts(wall_seconds=worked))
    for lease in leases:
        spent = spent.plus(lease)
    return spent


def _day(time: float) -> int:
    return int(time // DAY_SECONDS)


@dataclass(frozen=True)
class Refusal:
    """A limit that leaves no room for what is about to be done."""

    scope: Scope
    resource: Resource
    spent: float
    limit: float
    until: float | None = None
    """When there is room again; None when waiting does not help."""

    @property
    def reason(self) -> str:
        return f"{self.scope}.{self.resource}"

    @property
    def message(self) -> str:
        return f"the budget {self.reason} is used up: {self.spent:g} of {self.limit:g}"


def scopes(run: str) -> tuple[Scope, ...]:
    """What a run is counted against: the resident loop is no task."""
    within = (Scope.ITERATION,) if run == LOOP_RUN else (Scope.ITERATION, Scope.TASK)
    return (*within, Scope.DAY, Scope.LIFE)


def refusal(ledger: Ledger, budget: Budget, run: str, now: float, doing: Doing) -> Refusal | None:
    """The first limit without room, widest scope first; None when there is room."""
    if not budget:
        return None
    for scope in reversed(scopes(run)):
        if scope is Scope.ITERATION and doing is Doing.START:
            continue
        limit = budget.limit(scope)
        if limit is NOTHING:
            continue
        spent = ledger.spent(scope, run, now)
        for resource in _RESOURCES[doing]:
            most, used = limit.get(resource), spent.get(resource) or 0
            # No tool calls at all is no reason not to begin.
            if most is None or used < most or (most == 0 and doing is Doing.START):
                continue
            until = (_day(now) + 1.0) * DAY_SECONDS if scope is Scope.DAY else None
            return Refusal(scope, resource, used, most, until)
    return None


def room(ledger: Ledger, budget: Budget, run: str, now: float, resource: Resource) -> float | None:
    """How much of a resource is left in the narrowest scope; None when nothing limits it."""
    if not budget:
        return None
    left: float | None = None
    for scope in scopes(run):
        most = budget.limit(scope).get(resource)
        if most is not None:
            rest = max(0.0, most - (ledger.spent(scope, run, now).get(resource) or 0))
            left = rest if left is None else min(left, rest)
    return left


def lease(ledger: Ledger, budget: Budget, run: str, now: float, wanted: Amounts = NOTHING) -> Amounts:
    """What a child may be given: what it wants, or else all that is left, of each resource that is limited here."""
    given: dict[str, float] = {}
    for resource in Resource:
        left, asked = room(ledger, budget, run, now, resource), wanted.get(resource)
        amount = asked if left is None else left if asked is None else min(left, asked)
        if amount is not None:
            given[resource.value] = amount
    return Amounts.from_json(given)
