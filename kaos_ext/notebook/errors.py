"""Errors as a cell shows them: a few red lines, in every runner.

An error of ours is raised as a class of the same name that is also the original's class, so `except NotFoundError`
works and the runner reports that name. It renders itself; IPython's UsageError, which some runners take for success, is
never used. What led to it stays reachable as `__cause__`.
"""

from __future__ import annotations

from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.notebook.spoken import in_notebook
from kaos_ext.views.markup import clean, one_line

_RED, _BOLD, _DIM, _OFF = "\x1b[31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
DETAILS = 12


class _InCell:
    """Renders an error of ours as: name and message, details, the next step."""

    def _render_traceback_(self) -> list[str]:
        error = self
        assert isinstance(error, KaosError)
        name = type(error).__name__
        lines = [f"{_BOLD}{_RED}{name}{_OFF}{_RED}: {clean(error.message)}{_OFF}"]
        details = [clean(detail) for detail in error.details]
        lines += [f"  {detail}" for detail in details[:DETAILS]]
        if len(details) > DETAILS:
            lines.append(f"  {_DIM}… {len(details) - DETAILS} more lines{_OFF}")
        if error.hint:
            lines.append(f"  → {_BOLD}{clean(error.hint)}{_OFF}")
        return lines


class _Interrupted(KeyboardInterrupt):
    """Kernel → Interrupt while the notebook waited."""

    def _render_traceback_(self) -> list[str]:
        return [f"{_BOLD}{_RED}KeyboardInterrupt{_OFF}{_RED}: {one_line(self)}{_OFF}"]


_Interrupted.__name__ = _Interrupted.__qualname__ = "KeyboardInterrupt"


def in_cell(error: KaosError) -> KaosError:
    """The same error as one that renders itself in a cell."""
    if isinstance(error, _InCell):
        return error
    twin = _class(type(error))
    shown = twin.__new__(twin, *error.args)
    assert isinstance(shown, KaosError)
    shown.args = error.args
    shown.__dict__.update(error.__dict__)
    shown.hint = in_notebook(error.hint)
    return shown


def interrupted(what: str) -> KeyboardInterrupt:
    return _Interrupted(what)


_TWINS: dict[type[KaosError], type[KaosError]] = {}


def _class(kind: type[KaosError]) -> type[KaosError]:
    if kind not in _TWINS:
        # A runner or a reader must not take ours for IPython's own UsageError.
        name = "KaosUsageError" if kind is UsageError else kind.__name__
        _TWINS[kind] = type(name, (_InCell, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    return _TWINS[kind]
