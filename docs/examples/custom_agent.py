"""An agent of one's own: an async function, served with the card, memory, loop, budget and replay of any other.

AGENT_NAME=reader MCP_SERVERS=echo MCP_SERVER_echo_URL=http://127.0.0.1:8001 python docs/examples/custom_agent.py
"""

import asyncio

from kaos_ext.runtime.agent import Context, serve


async def reader(message: str, context: Context) -> str:
    # Calls that are gathered are made together; each is on record before it is made.
    first, second = await asyncio.gather(
        context.call("echo", message=message),
        context.call("echo", message=f"iteration {context.iteration}"),
    )
    return f"{first} / {second}"


if __name__ == "__main__":
    raise SystemExit(serve(reader, name="reader"))
