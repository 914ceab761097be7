"""Run a parsed command: load the verb's module, call its handler with the values by keyword.

run(session, parsed)  →  Result, or an async iterator of Updates for a verb that goes on
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from kaos_ext.commands.grammar import Verb
from kaos_ext.commands.parse import Parsed
from kaos_ext.commands.result import Answer, Plain, Result
from kaos_ext.commands.session import Session

Handler = Callable[..., Awaitable[Answer]]


def handler(verb: Verb) -> Handler:
    """The coroutine function behind a verb."""
    module, _, name = verb.handler.partition(":")
    function: Handler = getattr(importlib.import_module(module), name)
    return function


async def run(session: Session, parsed: Parsed) -> Answer:
    """Do it. Options given with the words win over the session's."""
    if parsed.verb is None:
        from kaos_ext.commands.help import help_text

        text = help_text(parsed.topic)
        return Result(Plain(text), {"help": text})
    own = {key: getattr(parsed.options, key) for key in ("namespace", "context", "kubeconfig", "json", "verbose")}
    options = replace(session.options, **{key: value for key, value in own.items() if value})
    if parsed.verb.default_namespace and not options.namespace:
        options = replace(options, namespace=parsed.verb.default_namespace)
    session.options = options
    return await handler(parsed.verb)(session, **{_keyword(key): value for key, value in parsed.values.items()})


def _keyword(key: str) -> str:
    """`--async` is a reserved word, and `session` the handler's first argument."""
    return {"async": "in_background", "session": "session_id"}.get(key, key)
