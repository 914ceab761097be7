"""`kaos apply -f FILE`: whatever a YAML file holds, by server-side apply."""

from __future__ import annotations

from collections.abc import Sequence

from kaos_ext.commands import outputs
from kaos_ext.commands.manifests import apply_all, documents, title
from kaos_ext.commands.mcp import read_text
from kaos_ext.commands.result import Done, Plain, Result
from kaos_ext.commands.session import Session
from kaos_ext.kube.objects import Object
from kaos_ext.model.errors import UsageError


async def apply(
    session: Session, *, filename: Sequence[str], manifest: str | None, force: bool, dry_run: bool
) -> Result:
    items: list[Object] = []
    if manifest is not None:
        items += documents(manifest, "the manifest")
    for name in filename:
        items += documents(read_text(name), "standard input" if name == "-" else name)
    if not items:
        raise UsageError("`kaos apply` needs -f FILE", hint="kaos apply -f agent.yaml, or -f - for standard input")
    if dry_run:
        return Result(Plain(outputs.to_yaml(*items)), items)
    kube = await session.changing()
    made = await apply_all(kube, items, force=force)
    said = Done("Applied " + ", ".join(title(item) for item in items))
    return Result(said, [outputs.without_bookkeeping(item) for item in made])
