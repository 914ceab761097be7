"""Completion of `%kaos` and `%%kaos` lines: verbs, flags, choices, and names of what is in the cluster.

The names come from what was seen last; asking the cluster happens in the background, never in the completer.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from kaos_ext.commands.complete import complete
from kaos_ext.commands.grammar import Names
from kaos_ext.kube.objects import NAMESPACES, Resource
from kaos_ext.model.errors import KaosError

if TYPE_CHECKING:
    from kaos_ext.commands.session import Session
    from kaos_ext.notebook.background import Background

_LINE = re.compile(r"^\s*(?:[A-Za-z_]\w*\s*=\s*)?%%?kaos\s(?P<rest>.*)$", re.DOTALL)
FRESH_SECONDS = 5.0


class Completion:
    """One matcher for IPython's completer."""

    def __init__(self, background: Background, defaults: Callable[[], Mapping[str, str]]) -> None:
        self.cache = NameCache(background, defaults)

        @context_matcher()  # type: ignore[untyped-decorator]
        def kaos_matcher(context: CompletionContext) -> SimpleMatcherResult:
            return self._match(context)

        self.matcher = kaos_matcher

    def _match(self, context: CompletionContext) -> SimpleMatcherResult:
        line = context.full_text.splitlines()[context.cursor_line] if context.full_text else ""
        found = _LINE.match(line[: context.cursor_position])
        if found is None:
            return {"completions": [], "suppress": False}
        words, word = _words(found["rest"])
        # IPython replaces its own token, which may begin after the start of our word (`--auto-int`).
        skip = len(word) - len(context.token) if word.endswith(context.token) else 0
        candidates = complete(words, word, self.cache.names)
        made = [SimpleCompletion(c.word[skip:], type="magic") for c in candidates if len(c.word) >= skip]
        return {"completions": made, "suppress": True, "ordered": True, "matched_fragment": context.token}


def _words(rest: str) -> tuple[list[str], str]:
    """The words before the cursor and the one under it; an open quote is closed for the purpose."""
    for closing in ("", '"', "'"):
        try:
            words = shlex.split(rest + closing)
        except ValueError:
            continue
        if rest[-1:].isspace() or not rest:
            return words, ""
        return words[:-1], words[-1] if words else ""
    return rest.split(), ""


class NameCache:
    """Names of agents, models, tool servers and namespaces, as they were a moment ago."""

    def __init__(self, background: Background, defaults: Callable[[], Mapping[str, str]]) -> None:
        self._background = background
        self._defaults = defaults
        self._names: dict[Names, tuple[str, ...]] = {}
        self._asked_at = -FRESH_SECONDS

    def names(self, kind: Names) -> Iterable[str]:
        """What is known now; asks for more in the background when that is old."""
        if kind in RESOURCES and time.monotonic() - self._asked_at >= FRESH_SECONDS:
            self.refresh()
        return self._names.get(kind, ())

    def refresh(self) -> None:
        """Ask for the names that there are now; a command that ran may have changed them."""
        self._asked_at = time.monotonic()
        self._background.submit(self._ask())

    async def _ask(self) -> None:
        from kaos_ext.commands.parse import Options
        from kaos_ext.commands.session import Session

        options: dict[str, Any] = {key: value or None for key, value in self._defaults().items()}
        try:
            async with Session(Options(**options)) as session:
                self._names = {kind: await ask_for(kind, session) for kind in RESOURCES}
        except KaosError:
            # No cluster, or one without our kinds: there are no names to offer, and a completer says nothing else.
            self._names = {}


RESOURCES = {
    Names.AGENTS: Resource("kaos.tools", "v1alpha1", "agents", "Agent"),
    Names.MODELAPIS: Resource("kaos.tools", "v1alpha1", "modelapis", "ModelAPI"),
    Names.MCPSERVERS: Resource("kaos.tools", "v1alpha1", "mcpservers", "MCPServer"),
    Names.NAMESPACES: NAMESPACES,
}


async def ask_for(kind: Names, session: Session) -> tuple[str, ...]:
    resource = RESOURCES[kind]
    kube = await session.kube()
    found = await kube.list(resource, kube.namespace if resource.namespaced else None)
    return tuple(sorted(item["metadata"]["name"] for item in found.items))
