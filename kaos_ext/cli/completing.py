"""`kaos __complete WORDS… CURRENT`: what a shell offers next, one candidate per line, its help after a tab.

`:files` as the only answer means: file names, which the shell completes itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kaos_ext.commands.complete import complete, wants
from kaos_ext.commands.grammar import Names

PATIENCE_SECONDS = 2.0


def candidates(words: Sequence[str]) -> str:
    before, word = list(words[:-1]), words[-1] if words else ""
    if wants(before, word) is Names.FILES:
        return ":files"
    found = complete(before, word, lambda names: _names(before, names))
    return "\n".join(f"{candidate.word}\t{candidate.help}" if candidate.help else candidate.word for candidate in found)


def _names(words: Sequence[str], names: Names) -> Iterable[str]:
    """Names from the cluster; none when it does not answer soon: a shell's prompt must not hang."""
    import asyncio

    from kaos_ext.commands.existing import existing
    from kaos_ext.commands.parse import options_of
    from kaos_ext.commands.session import Session
    from kaos_ext.model.errors import KaosError

    async def ask() -> Iterable[str]:
        async with asyncio.timeout(PATIENCE_SECONDS), Session(options_of(words)) as session:
            return await existing(session, names)

    try:
        return asyncio.run(ask())
    except (KaosError, TimeoutError):
        return ()
