"""Starting a process with pipes in place of its standard files: by exec, or as a fork of a template.

Either way the supervisor is its parent, it leads a session of its own, and has exactly the environment it was given.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Pipes:
    """Both ends of a process's standard files. `held` is stdin's other end, where somebody is to hold it."""

    stdin: int
    stdout: int
    stderr: int
    held: int | None
    out: int
    err: int

    @classmethod
    def open(cls, hold_stdin: bool) -> Pipes:
        stdin, held = os.pipe() if hold_stdin else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None)
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        return cls(stdin, stdout, stderr, held, out, err)

    def hand_over(self) -> None:
        """The process has its ends: close ours of them."""
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)

    def close(self) -> None:
        """Close the ends that are ours."""
        for fd in (self.held, self.out, self.err):
            if fd is not None:
                os.close(fd)


def execute(argv: list[str], env: Mapping[str, str], cwd: str, pipes: Pipes) -> int:
    """Start a program; its pid. OSError when it cannot be."""
    process = subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=pipes.stdin,
        stdout=pipes.stdout,
        stderr=pipes.stderr,
        start_new_session=True,
    )
    process.returncode = 0  # whoever started it reaps it: nothing of subprocess's may wait for this pid
    return process.pid
