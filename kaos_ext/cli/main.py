"""`kaos …`: parse, run, print. Results on standard output, everything else on standard error.

Exit status: 0 done, 1 it could not be done, 2 the words were wrong, 130 interrupted, 141 nobody reads us any more.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaos_ext.cli.screen import Screen
    from kaos_ext.commands.parse import Parsed

INTERRUPTED, UNREAD = 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _main(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _close_output()
        return UNREAD


def _main(words: list[str]) -> int:
    if words[:1] == ["__complete"]:
        from kaos_ext.cli.completing import candidates

        print(candidates(words[1:]))
        return 0
    if words in (["--version"], ["-V"]):
        from kaos_ext import __version__

        print(f"kaos {__version__}")
        return 0
    from kaos_ext.cli.screen import Screen
    from kaos_ext.commands.parse import options_of, parse
    from kaos_ext.model.errors import UsageError

    options = options_of(words)
    screen = Screen(as_json=options.json)
    try:
        parsed = parse(words)
    except UsageError as error:
        screen.error(error, options.verbose)
        return error.exit_status
    return _run(screen, parsed)


def _run(screen: Screen, parsed: Parsed) -> int:
    import asyncio

    from kaos_ext.model.errors import KaosError

    try:
        return asyncio.run(_command(screen, parsed))
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except KaosError as error:
        screen.error(error, parsed.options.verbose)
        return error.exit_status
    except Exception as error:
        screen.error(error, parsed.options.verbose)
        return 1
    finally:
        screen.close()


async def _command(screen: Screen, parsed: Parsed) -> int:
    import os

    from kaos_ext.commands.result import Result
    from kaos_ext.commands.run import run
    from kaos_ext.commands.session import Session

    # A command ends at once; what it starts for a while belongs to the shell or script that ran it.
    async with Session(parsed.options, screen.report, owner_pid=os.getppid()) as session:
        answer = await run(session, parsed)
        if isinstance(answer, Result):
            screen.result(answer)
            return answer.status
        if isinstance(answer, AsyncIterator):
            async with aclosing(answer) as updates:  # type: ignore[type-var]
                async for update in updates:
                    screen.update(update)
    return 0


def _close_output() -> None:
    """The reader has gone: nothing may be written at exit either."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
