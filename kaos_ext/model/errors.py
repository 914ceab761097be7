"""The one error tree.

    KaosError                    message, hint (what to do next), exit status
    ├─ UsageError                the words of a command are wrong            exit 2
    ├─ NotFoundError             something that is needed is not there       exit 1
    │  └─ UnknownNameError       a name given by the user names nothing      exit 2
    ├─ NotReadyError             it exists but does not do its work (yet)    exit 1
    ├─ UnreachableError          a server does not answer                    exit 1
    └─ ApiError                  a Kubernetes API server refused             exit 1

Every error says which thing, why, and what to do next. Faces draw it; nobody else catches it to hide it.
"""

from __future__ import annotations


class KaosError(Exception):
    """An error a user can act on: `str(error)` is one line, `hint` is the next step (a sentence or a command)."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "", details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(KaosError):
    """The words of a command are wrong; nothing was changed."""

    exit_status = 2


class NotFoundError(KaosError):
    """Something that is needed is not there."""


class UnknownNameError(NotFoundError):
    """A name given by the user that names nothing; like any wrong word it changes nothing."""

    exit_status = 2


class NotReadyError(KaosError):
    """A thing exists but does not do its work yet, or no more."""


class UnreachableError(KaosError):
    """A server does not answer."""
