"""What every runtime's process sets up first: its title, its log, and files that only its user may read.

Nothing that came from a Secret is in what it prints either: not by a tool, not in the traceback of its end.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

from kaos_ext.model import podenv
from kaos_ext.runtime.secrets import RedactedOutput, RedactingFormatter, Redactor, secret_values


def set_up_process(kind: str, name: str, env: Mapping[str, str]) -> None:
    from setproctitle import setproctitle

    setproctitle(f"kaos: {kind} {name}")
    os.umask(0o077)
    level = (env.get(podenv.LOG_LEVEL) or "INFO").upper()
    known = {"TRACE": "DEBUG", "WARN": "WARNING"}.get(level, level)
    handler = logging.StreamHandler(sys.stderr)
    secrets = secret_values(env)
    handler.setFormatter(RedactingFormatter(secrets))
    if secrets:
        redactor = Redactor(secrets)
        sys.stdout, sys.stderr = RedactedOutput(sys.stdout, redactor), RedactedOutput(sys.stderr, redactor)
    logging.basicConfig(level=known if known in logging.getLevelNamesMapping() else "INFO", handlers=[handler])
