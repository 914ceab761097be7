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

from collections.abc import Callable, Iterable, Mapping
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
_HOLDS = frozenset({EventType.PAUSED, EventType.RESUMED, EventType.APPROVAL_REQUESTED})
_DECIDED = frozenset({EventType.APPROVAL_GRANTED, EventType.APPROVAL_DECLINED, EventType.APPROVAL_TIMED_OUT})
_STILL = frozenset(
    {
        EventType.LOOP_STARTED,
        EventType.RESUMED,
        EventType.TOOL_RESULT,
        EventType.TOOL_ERROR,
        EventType.OUTCOME_UNKNOWN,
    }
)
"""After these a person is waited for again, if one was asked."""
_RUN_ENDS = frozenset({EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TASK_CANCELED})
_LEASES = frozenset({EventType.DELEGATION_REQUEST, EventType.DELEGATION_RESPONSE, EventType.DELEGATION_ERROR})


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
    held: bool = False
    """The owner holds the run, whichever process sees it."""
    asked: int = 0
    """Calls of the open iteration that wait for a person."""


NEW = Account()
ONE_ITERATION, ONE_MODEL_CALL, ONE_TOOL_CALL = Amounts(iterations=1), Amounts(model_calls=1), Amounts(tool_calls=1)


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
        return self.accounts.get(run) or NEW

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
                    "held": account.held,
                    "asked": account.asked,
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
                bool(account.get("held")),
                int(account.get("asked") or 0),
            )
            for run, account in value["accounts"].items()
        }
        leases = {id: Amounts.from_json(lease) for id, lease in value["leases"].items()}
        today, life = Amounts.from_json(value["today"]), Amounts.from_json(value["life"])
        return cls(value["seq"], value["day"], today, life, accounts, leases)


def estimated_tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def fold(ledger: Ledger, *events: Event) -> Ledger:
    """The ledger after some more events; those it has seen change nothing. Many at once cost less than one by one."""
    if not events:
        return ledger
    seq, day, today, life, leases = ledger.seq, ledger.day, ledger.today, ledger.life, ledger.leases
    accounts, charged = dict(ledger.accounts), NOTHING
    for event in events:
        if 0 < event.seq <= seq:
            continue
        seq = event.seq or seq
        if not event.run:
            continue
        account, spent = _timed(accounts.get(event.run), event), NOTHING
        book = _BOOKS.get(event.type)
        if book is not None:
            account, spent = book(account, event)
        elif event.type in _LEASES:
            leases, spent = _leased(leases, event)
        if spent is not NOTHING:
            account = account or NEW
            account = changed(account, iteration=account.iteration.plus(spent), task=account.task.plus(spent))
            if _day(event.time) != day:
                life, today, charged = life.plus(charged), NOTHING, NOTHING
                day = _day(event.time)
            charged = charged.plus(spent)
        if _over(event):
            accounts.pop(event.run, None)
        elif account is not None:
            accounts[event.run] = account
    return Ledger(seq, day, today.plus(charged), life.plus(charged), accounts, leases)


def _over(event: Event) -> bool:
    """The run ends with this event; that of a chat request is its one iteration."""
    if event.type in ITERATION_ENDS:
        return event.run != LOOP_RUN and not event.run.startswith("task_")
    return event.type in _RUN_ENDS


def _timed(account: Account | None, event: Event) -> Account | None:
    """The account of an open iteration with the time that was worked until the event."""
    if account is None or account.last is None:
        if event.type != EventType.ITERATION_STARTED:
            return account
        return changed(account or NEW, last=event.time, idle=False, worked=0.0, held=False, asked=0)
    unworked = account.idle or event.type in _IDLE_BEFORE
    worked = account.worked if unworked else account.worked + max(0.0, event.time - account.last)
    kind, held, asked = event.type, account.held, account.asked
    if kind in _HOLDS or kind in _DECIDED:
        held = held if kind not in (EventType.PAUSED, EventType.RESUMED) else kind == EventType.PAUSED
        asked = asked + 1 if kind == EventType.APPROVAL_REQUESTED else max(0, asked - (kind in _DECIDED))
    idle = kind in _IDLE_AFTER or held or (asked > 0 and kind in _STILL)
    return changed(account, last=event.time, idle=idle, worked=worked, held=held, asked=asked)


Booked = tuple[Account | None, Amounts]
"""The account after an event, and what the event charges to every scope."""


def _iteration_started(account: Account | None, event: Event) -> Booked:
    return changed(account or NEW, iteration=NOTHING), ONE_ITERATION


def _model_asked(account: Account | None, event: Event) -> Booked:
    account = account or NEW
    # One before it that never came to an answer keeps its reservation.
    spent = ONE_MODEL_CALL.plus(account.reserved or NOTHING)
    return changed(account, reserved=Amounts.from_json(event.fields.get("reserved") or {})), spent


def _model_answered(account: Account | None, event: Event) -> Booked:
    account = account or NEW
    return changed(account, reserved=None), _used(event.fields, account.reserved or NOTHING)


def _tool_called(account: Account | None, event: Event) -> Booked:
    return account, ONE_TOOL_CALL


def _iteration_ended(account: Account | None, event: Event) -> Booked:
    account = account or NEW
    spent = Amounts(wall_seconds=account.worked) if account.worked else NOTHING
    # A model that said it failed has not billed; one that broke off, or never came to an answer, may have.
    billed = event.type != EventType.ITERATION_FAILED or event.fields.get("billed")
    if told := event.fields.get("spent"):
        spent = spent.plus(Amounts.from_json(told))
    elif billed and account.reserved is not None:
        spent = spent.plus(account.reserved)
    return changed(account, reserved=None, last=None, worked=0.0), spent


def _lost(account: Account | None, event: Event) -> Booked:
    """A model call that never came to an answer keeps its reservation: it may have been billed."""
    if account is None or account.reserved is None:
        return account, NOTHING
    return changed(account, reserved=None), account.reserved


_BOOKS: dict[str, Callable[[Account | None, Event], Booked]] = {
    EventType.LOOP_STARTED: _lost,
    EventType.ITERATION_STARTED: _iteration_started,
    EventType.MODEL_REQUEST: _model_asked,
    EventType.MODEL_RESPONSE: _model_answered,
    EventType.TOOL_CALL: _tool_called,
    **dict.fromkeys(ITERATION_ENDS, _iteration_ended),
    **dict.fromkeys(_RUN_ENDS, _iteration_ended),  # a task that is cancelled has an open one
}


def _leased(leases: Mapping[str, Amounts], event: Event) -> tuple[Mapping[str, Amounts], Amounts]:
    """The leases of children after an event of a delegation, and what it charges."""
    id = str(event.data.get("call_id"))
    if event.type == EventType.DELEGATION_REQUEST:
        given = event.data.get("lease")
        return ({**leases, id: Amounts.from_json(given)} if given else leases), NOTHING
    lease = leases.get(id)
    if lease is None:
        return leases, NOTHING
    said = event.data.get("spent")
    # A child that does not say what it spent may have spent all it was given.
    spent = lease if said is None else Amounts.from_json(said)
    return {other: kept for other, kept in leases.items() if other != id}, spent


def _used(content: Mapping[str, Any], reserved: Amounts) -> Amounts:
    given = content.get("usage")
    usage = given if isinstance(given, Mapping) else {}
    if usage.get("prompt_tokens") is None and usage.get("completion_tokens") is None:
        tokens = (reserved.tokens or 0) + estimated_tokens(len(str(content.get("text") or "")))
    else:
        tokens = int(usage.get("prompt_tokens") or 0) + int(usage.get("completion_tokens") or 0)
    cost, asked = content.get("cost"), content.get("model_calls")
    # One of them is on record as the request.
    more = int(asked) - 1 if asked else None
    return Amounts(steps=1, model_calls=more, tokens=tokens, cost=None if cost is None else float(cost))


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


def refusal_beside(ledger: Ledger, budget: Budget, run: str, now: float, underway: Amounts) -> Refusal | None:
    """The first limit without room for a model call while this is under way in the run instead of what is reserved."""
    if not budget:
        return None
    account = ledger.account(run)
    account = changed(account, reserved=underway)
    return refusal(changed(ledger, accounts={**ledger.accounts, run: account}), budget, run, now, Doing.MODEL)


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
