"""`kaos version`: this package, and the cluster it would talk to."""

from __future__ import annotations

import platform

from kaos_ext import __version__
from kaos_ext.commands.result import Plain, Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError


async def version(session: Session) -> Result:
    """The cluster's part is left out when none answers: this verb must always work."""
    data = {"version": __version__, "python": platform.python_version()}
    lines = [f"kaos {__version__} (Python {platform.python_version()})"]
    try:
        kube = await session.kube()
        server = await kube.raw("/version")
    except KaosError as error:
        lines.append(f"no cluster: {error.message}")
    else:
        data |= {"server": str(server.get("gitVersion", "")), "context": kube.context_name}
        lines.append(f"server {server.get('gitVersion')} (context {kube.context_name})")
    return Result(Plain("\n".join(lines)), data)
