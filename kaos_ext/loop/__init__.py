"""The decisions of a run, pure: what an agent does next, given everything that happened.

    state = fold(state, event)           # state.py: a RunState is a fold of the run's events
    actions = decide(state, now)         # decide.py: what to do now; time is passed in
    state, actions = next(state, event)  # both, at the event's own time
    messages = prompt(state, ...)        # prompt.py: what the model is shown
    events = failed(state, error, now)   # records.py: what is written down of it

The runtime carries out the actions, writes down what came of it as events, and folds those. So a process that dies
anywhere is replaced by one that folds the same log and goes on.
"""

from kaos_ext.loop.backoff import pause
from kaos_ext.loop.decide import (
    Action,
    AskModel,
    CallTools,
    End,
    Park,
    Record,
    WaitUntil,
    affordable,
    deadline,
    decide,
    due_at,
    ended_badly,
    may_ask,
    next,
    over,
    resumes_at,
)
from kaos_ext.loop.ledger import Ledger, Refusal, estimated_tokens, refusal_beside
from kaos_ext.loop.prompt import Message, fingerprint, prompt
from kaos_ext.loop.records import failed, unknown
from kaos_ext.loop.state import Limits, PendingCall, Repeat, RunSpec, RunState, begin, fold, interrupted

__all__ = [
    "Action",
    "AskModel",
    "CallTools",
    "End",
    "Ledger",
    "Limits",
    "Message",
    "Park",
    "PendingCall",
    "Record",
    "Refusal",
    "Repeat",
    "RunSpec",
    "RunState",
    "WaitUntil",
    "affordable",
    "begin",
    "deadline",
    "decide",
    "due_at",
    "ended_badly",
    "estimated_tokens",
    "failed",
    "fingerprint",
    "fold",
    "interrupted",
    "may_ask",
    "next",
    "over",
    "pause",
    "prompt",
    "refusal_beside",
    "resumes_at",
    "unknown",
]
