"""`python -m kaos_ext.runtime.modelapi [--config PATH] [--port N]`: the proxy, as its image starts it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kaos_ext.model.errors import KaosError

CONFIG = Path("/etc/litellm/config.yaml")
CONFIG_VARIABLE = "MODELAPI_CONFIG"


def serve(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    from kaos_ext.runtime.start import lean

    with lean():
        import aiohttp

        from kaos_ext.runtime.modelapi.config import load
        from kaos_ext.runtime.modelapi.proxy import Proxy
        from kaos_ext.runtime.shell import Shell
        from kaos_ext.runtime.shell_process import set_up_process

    parser = argparse.ArgumentParser(prog="modelapi", description="an OpenAI-compatible proxy")
    parser.add_argument("--config", type=Path, help=f"routes in LiteLLM's format (or {CONFIG_VARIABLE}; {CONFIG})")
    parser.add_argument("--port", type=int, help="port to listen on (or PORT; 8000)")
    parser.add_argument("--host", help="address to listen on (or HOST; 127.0.0.1)")
    parsed = parser.parse_args(arguments)
    path: Path | None = parsed.config
    if path is None:
        path = Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else CONFIG if CONFIG.exists() else None
    config = load(path, env)
    name = env.get("MODEL_API_NAME") or "proxy"
    set_up_process("modelapi", name, env)

    async def main(shell: Shell) -> None:
        async with aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), trust_env=True
        ) as session:
            Proxy(config, session).add_routes(shell.app.router)
            await shell.listen()
            shell.ready()
            await shell.stopping.wait()
            await shell.close()

    return Shell("modelapi", name, {**env, **_host(parsed.host)}, port=parsed.port).run(main)


def _host(host: str | None) -> dict[str, str]:
    return {"HOST": host} if host else {}


def main() -> int:
    try:
        return serve(sys.argv[1:], os.environ)
    except KaosError as error:
        print(f"modelapi: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
