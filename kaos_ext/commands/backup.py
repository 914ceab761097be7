"""`kaos backup` and `kaos restore`: an embedded cluster in one file, and a cluster from such a file.

backup     also while the cluster runs and writes; the file is complete under its name or not there
restore    a new, stopped cluster; `kaos up` starts it
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaos_ext.commands.cluster import DEFAULT, Progress, cluster_names, private, unknown, words
from kaos_ext.commands.result import Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.model.errors import KaosError, UsageError
from kaos_ext.views import Note, StepState, Tone

if TYPE_CHECKING:
    from kaos_ext.cluster.backup import Manifest

SUFFIX = ".kaos.tar.gz"


async def backup(session: Session, *, file: str, cluster: str | None, without_volumes: bool, force: bool) -> Result:
    from kaos_ext.cluster.backup import save
    from kaos_ext.cluster.config import cluster_root, load_config

    name, known = cluster or private(session) or DEFAULT, cluster_names()
    if name not in known:
        raise unknown(name, known)
    config = load_config(cluster_root(name))
    target = _target(file, name)
    progress = Progress("saving", config.context, session.report)
    saved = await _stepwise(
        progress,
        "backup",
        lambda tell: save(config, target, volumes=not without_volumes, overwrite=force, on_progress=tell),
    )
    progress.to("backup", StepState.DONE, f"{saved.files} files, {_size(saved.bytes)}")
    if saved.left_out:
        session.note(f"left out, being no files: {', '.join(saved.left_out[:5])}", Tone.WAITING)
    kept = "" if saved.manifest.volumes else ", without volumes"
    said = (
        f"Saved cluster '{name}' at resourceVersion {saved.manifest.revision} in {saved.file}: "
        f"{saved.manifest.objects} objects, {_size(saved.bytes)}{kept}; the file holds its keys"
    )
    data = {
        "name": name,
        "file": str(saved.file),
        "bytes": saved.bytes,
        "files": saved.files,
        "databases": saved.databases,
        "left_out": list(saved.left_out),
        **_told(saved.manifest),
    }
    return Result(Done(said, f"kaos restore {saved.file}"), data)


async def restore(session: Session, *, file: str, cluster: str | None, check: bool) -> Result:
    from kaos_ext.cluster.backup import restore as restored_from
    from kaos_ext.cluster.backup.restoring import read_manifest
    from kaos_ext.cluster.lifecycle import locked

    source = _path(file)
    # Read before anything is locked: the name may be the backup's own.
    name = cluster or (await asyncio.to_thread(read_manifest, source)).cluster
    progress = Progress("checking" if check else "restoring", f"kaos-{name}", session.report)
    async with locked(name, progress.waits("backup")):
        made = await _stepwise(
            progress, "backup", lambda tell: restored_from(source, name, check_only=check, on_progress=tell)
        )
    progress.to("backup", StepState.DONE, f"{made.files} files, {_size(made.bytes)}")
    manifest = made.manifest
    about = f"cluster '{manifest.cluster}' of {manifest.created}, {manifest.objects} objects"
    data = {
        "name": name,
        "file": str(source),
        "restored": not check,
        "files": made.files,
        "bytes": made.bytes,
        "state_folder": None if check else str(made.config.root),
        **_told(manifest),
    }
    if check:
        view = Note(Tone.DONE, f"{source} is whole: {about}", f"kaos restore {source}")
        return Result(view, data)
    return Result(Done(f"Restored {about} as '{name}'; it does not run yet", words("up", name)), data)


async def _stepwise(progress: Progress, step: str, work: Any) -> Any:
    """Do the work in a thread; what it says is told here. An interrupt waits until it has cleaned up after itself."""
    loop = asyncio.get_running_loop()
    stopped = False

    def tell(what: str) -> None:
        if stopped:
            raise KaosError("interrupted")
        loop.call_soon_threadsafe(progress.to, step, StepState.RUNNING, what)

    running = asyncio.ensure_future(asyncio.to_thread(work, tell))
    try:
        # Waited for, not awaited: an interrupt cancels this wait alone, and the work ends as soon as it tells.
        await asyncio.wait([running])
        return running.result()
    except asyncio.CancelledError:
        stopped = True
        await asyncio.wait([running])
        running.exception()  # looked at, so that nobody speaks of it
        raise
    except KaosError:
        progress.fail()
        raise


def _path(file: str) -> Path:
    return Path(file).expanduser()


def _target(file: str, name: str) -> Path:
    path = _path(file)
    if path.is_dir():
        moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return path / f"{name}-{moment}{SUFFIX}"
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    return path


def _told(manifest: Manifest) -> dict[str, Any]:
    return {
        "cluster": manifest.cluster,
        "created": manifest.created,
        "resource_version": str(manifest.revision),
        "objects": manifest.objects,
        "volumes": manifest.volumes,
        "version": manifest.kaos,
    }


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"
