"""`python -m kaos_operator`: the operator, in its image and on the embedded cluster alike."""

from __future__ import annotations

import gc
import logging
import os
import sys


def main() -> int:
    """The command."""
    from setproctitle import setproctitle

    setproctitle("kaos: operator")
    level = os.environ.get("DEFAULT_LOG_LEVEL", "INFO").upper()
    level = {"TRACE": "DEBUG"}.get(level, level)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    if level != "DEBUG":
        for name in ("kopf.objects", "kopf.activities", "kopf._core", "kopf._cogs", "aiohttp.access"):
            logging.getLogger(name).setLevel(logging.WARNING)

    from kaos_ext.kube.kubeconfig import endpoint
    from kaos_ext.model.errors import KaosError

    try:
        if not endpoint().plugin:
            # kopf looks for the official client only to offer its models and its login; it takes a second to import
            sys.modules.setdefault("kubernetes", None)  # type: ignore[arg-type]
        # a collector that runs while modules and classes are made finds nothing
        gc.disable()
        from kaos_operator.handlers import run

        gc.enable()
        gc.freeze()
        run()
    except KaosError as error:
        print(f"{error} ({error.hint})" if error.hint else str(error), file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
