"""`python -m kaos_ext.runtime.mcp`: tools from the source in `MCP_TOOLS_STRING`."""

from __future__ import annotations

import os
import sys

from kaos_ext.model.errors import KaosError


def main() -> int:
    from kaos_ext.runtime.mcp.app import serve

    try:
        return serve(os.environ)
    except KaosError as error:
        print(f"mcp: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
