"""`python -m kaos_ext.runtime.agent`: the agent described by the environment."""

from __future__ import annotations

import os
import sys

from kaos_ext.model.errors import KaosError


def main() -> int:
    from kaos_ext.runtime.start import lean

    with lean():
        from kaos_ext.runtime.agent.app import serve
    try:
        return serve(os.environ)
    except KaosError as error:
        print(f"agent: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
