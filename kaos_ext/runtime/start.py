"""A lean start: what a runtime would spend on garbage and on certificates before it answers its first request.

Starting is mostly the creation of modules and classes; a collector that runs meanwhile finds nothing. And aiohttp reads
all certificates of the system when it is imported, a sixth of the whole start; inside a cluster most runtimes never
open a TLS connection, so they are read when the first one is opened.
"""

from __future__ import annotations

import contextlib
import gc
import ssl
from collections.abc import Iterator
from typing import Any


class LazyContext(ssl.SSLContext):
    """A verifying client context that reads the system's certificates at its first connection."""

    _read = False

    def _certificates(self) -> None:
        if not self._read:
            self._read = True
            self.load_default_certs(ssl.Purpose.SERVER_AUTH)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        self._certificates()
        return super().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self._certificates()
        return super().wrap_socket(*args, **options)


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Import and set up inside this."""
    gc.disable()
    try:
        with _certificates_unread():
            import aiohttp  # noqa: F401
        yield
    finally:
        gc.enable()
        gc.freeze()


@contextlib.contextmanager
def _certificates_unread() -> Iterator[None]:
    """Default contexts made inside are lazy; those that verify nothing need no certificates at all."""
    usual, load, paths = ssl.create_default_context, ssl.SSLContext.load_default_certs, "set_default_verify_paths"

    def lazy(*args: Any, **options: Any) -> ssl.SSLContext:
        context = usual(*args, **options)
        context.__class__ = LazyContext
        return context

    def nothing(context: ssl.SSLContext, *args: Any) -> None:
        return None

    ssl.create_default_context = lazy
    ssl.SSLContext.load_default_certs = nothing  # type: ignore[method-assign, assignment]  # for one import
    setattr(ssl.SSLContext, paths, nothing)
    try:
        yield
    finally:
        ssl.create_default_context = usual
        ssl.SSLContext.load_default_certs = load  # type: ignore[method-assign]
        delattr(ssl.SSLContext, paths)
