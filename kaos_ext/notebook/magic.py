"""The `%kaos` magic: one line or cell magic over the grammar that the `kaos` command has.

    %kaos agent deploy …        a verb; its answer is an object: `r = %kaos agent list`, `r.to_frame()`
    %%kaos mcp deploy NAME      the functions of the cell become tools
    %kaos agent watch NAME      a live view at once; `.wait(iterations=3)` waits, `.widget` is its widget
    %kaos help, %kaos up --help, %kaos?

While a verb works, what it waits for is drawn in the cell from the foreground. Results are drawn by being the value of
the line; a `;` at the end keeps it quiet, and it is still the value: `r = %kaos agent list;`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Enum, Float, Unicode

from kaos_ext.model.errors import KaosError
from kaos_ext.notebook.background import Background
from kaos_ext.notebook.errors import in_cell, interrupted

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from kaos_ext.commands.parse import Parsed

HEAD = "One magic for agents on Kubernetes. `%kaos help` and `%kaos VERB --help` show the same as text.\n\n"


@magics_class
class KaosMagics(Magics):  # type: ignore[misc]
    """Settings of `%kaos` (`%config KaosMagics`)."""

    namespace = Unicode("", help="Namespace of every command that does not say one; empty: of the context.").tag(
        config=True
    )
    context = Unicode("", help="Context of the kubeconfig; empty: the current one.").tag(config=True)
    live = Enum(
        ["auto", "always", "never"],
        "auto",
        help="Draw while things happen: always, never (only first and last), or when somebody can look.",
    ).tag(config=True)
    refresh = Float(0.25, help="Seconds between two drawings of a live view.").tag(config=True)

    def __init__(self, shell: InteractiveShell, background: Background | None = None) -> None:
        super().__init__(shell)
        self.background = background or Background()
        from kaos_ext.notebook.private import PrivateConfig
        from kaos_ext.notebook.watches import Watches

        self.watches = Watches()
        self.private = PrivateConfig()
        self._completion: Any = None

    # -- the magic -----------------------------------------------------------------------------------------------

    @no_var_expand  # type: ignore[untyped-decorator]
    @line_cell_magic  # type: ignore[untyped-decorator]
    def kaos(self, line: str, cell: str | None = None) -> Any:
        try:
            return self._run(line, cell)
        except KaosError as error:
            raise in_cell(error) from error

    def _run(self, line: str, cell: str | None) -> Any:
        from kaos_ext.commands.parse import parse
        from kaos_ext.notebook import bodies
        from kaos_ext.notebook.words import split

        words, silent = split(line, self.shell.user_ns)
        body = None if cell is None else bodies.prepare(words, cell, self.shell.user_ns)
        parsed = parse(words, body)
        if parsed.verb is not None and parsed.verb.shell_only:
            raise KaosError(f"`kaos {parsed.verb.name}` is for a shell", hint=f"!kaos {parsed.verb.name}")
        answer = self._answer(parsed, silent)
        self._saw(parsed)
        return answer

    def _answer(self, parsed: Parsed, silent: bool) -> Any:
        from kaos_ext.notebook.verbs import Runner

        runner = Runner(
            self.background,
            self.watches,
            self.private,
            live=self._live(),
            refresh=self.refresh,
            defaults=self._defaults(),
        )
        try:
            return runner.run(parsed, silent=silent)
        except KeyboardInterrupt:
            what = parsed.verb.name if parsed.verb else "help"
            raise interrupted(f"stopped waiting for `{what}`; what was begun in the cluster goes on") from None

    def _live(self) -> bool | None:
        return {"always": True, "never": False}.get(self.live)

    def _defaults(self) -> dict[str, str]:
        return {"namespace": self.namespace, "context": self.context}

    # -- completion ----------------------------------------------------------------------------------------------

    def _saw(self, parsed: Parsed) -> None:
        """The names in the cluster may have changed; only who can press a key wants to know."""
        from kaos_ext.notebook.frames import watched

        if self._completion is not None and parsed.verb is not None and parsed.verb.words != ("down",) and watched():
            self._completion.cache.refresh()

    def install(self) -> None:
        from kaos_ext.notebook.completion import Completion

        self.shell.register_magics(self)
        self._completion = Completion(self.background, self._defaults)
        if self.shell.Completer is not None:
            self.shell.Completer.custom_matchers.append(self._completion.matcher)
        self.shell.events.register("post_run_cell", self._after_cell)
        # IPython reads the help of a magic from its function.
        type(self).kaos.__doc__ = HEAD + _help()

    def uninstall(self) -> None:
        self.shell.events.unregister("post_run_cell", self._after_cell)
        completer = self.shell.Completer
        if completer is not None and self._completion is not None:
            matchers = completer.custom_matchers
            completer.custom_matchers = [matcher for matcher in matchers if matcher is not self._completion.matcher]
        for kind in ("line", "cell"):
            self.shell.magics_manager.magics[kind].pop("kaos", None)
        self.watches.close()
        self.private.leave()
        self.background.close()

    def _after_cell(self, _result: object = None) -> None:
        """The end of a cell draws what changed in the foreground, where it is sure to be saved."""
        self.watches.flush()


def _help() -> str:
    from kaos_ext.commands.help import help_text

    return help_text()
