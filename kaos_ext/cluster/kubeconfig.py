"""The user's kubeconfig files, and the cluster's own.

    $KUBECONFIG a:b:c  →  read: the first file that names an entry, or a current context, wins (as in kubectl)
                          write: an entry goes where it is already, new ones to the first file that exists, else the
                          last; the current context to the file that has one, else there

A change touches only its own lines: the text around it (other entries, comments, order) is kept byte for byte where the
file is written in block style; where it is not (`clusters: []`, JSON), that one value is written anew. Each edited text
is parsed again and compared with what it should mean before the file is replaced, whole and 0600. `<file>.lock` keeps
other writers out, kubectl among them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaos_ext.cluster.config import ClusterConfig, unwritable, write_private
from kaos_ext.cluster.yaml_edit import in_block_style, set_item, set_scalar
from kaos_ext.model.errors import KaosError

LOCK_WAIT_SECONDS = 10.0
_SECTIONS = ("clusters", "contexts", "users")


@dataclass(frozen=True, slots=True)
class ContextChange:
    """What `add_context` or `remove_context` did to the current context."""

    context: str
    """The context that is current now; empty when there is none."""
    previous: str
    """The one that was current before; empty when there was none."""
    file: Path


def entries(config: ClusterConfig) -> dict[str, dict[str, Any]]:
    """The three entries of a cluster: for each section the item with the cluster's context name."""
    ca = base64.b64encode((config.pki / "ca.crt").read_bytes()).decode()
    token = (config.pki / "admin.token").read_text().strip()
    name = config.context
    return {
        "clusters": {"name": name, "cluster": {"certificate-authority-data": ca, "server": config.server}},
        "contexts": {"name": name, "context": {"cluster": name, "namespace": "default", "user": name}},
        "users": {"name": name, "user": {"token": token}},
    }


def write_private_kubeconfig(config: ClusterConfig) -> Path:
    """Write the cluster's own file, `<state>/kubeconfig`; a namespace that was chosen in it stays."""
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "preferences": {}}
    try:
        before = _load(config.kubeconfig)
    except KaosError:
        before = {}  # The file is ours to make anew.
    for section, item in entries(config).items():
        document[section] = [_with_chosen_namespace(item, before) if section == "contexts" else item]
    document["current-context"] = config.context
    content = yaml.safe_dump(document, sort_keys=False).encode()
    if not config.kubeconfig.exists() or config.kubeconfig.read_bytes() != content:
        write_private(config.kubeconfig, content)
    return config.kubeconfig


def kubeconfig_files() -> list[Path]:
    """The files kubectl would read, in its order."""
    listed = [Path(part).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return list(dict.fromkeys(listed)) or [Path.home() / ".kube" / "config"]


def current_context() -> str:
    """The context that kubectl would use without `--context`; empty when none is set."""
    return next((name for path in kubeconfig_files() if (name := _current(_load(path)))), "")


def add_context(config: ClusterConfig) -> ContextChange:
    """Add `kaos-<name>` to the user's kubeconfig and make it current; the one before is remembered in the state."""
    files = kubeconfig_files()
    destination = next((path for path in files if path.exists()), files[-1])
    previous = current_context()
    for section, item in entries(config).items():
        home = next((path for path in files if _find(_load(path), section, config.context)), destination)
        if section == "contexts":
            item = _with_chosen_namespace(item, _load(home))
        _edit(home, {section: (config.context, item)})
    holder = next((path for path in files if _current(_load(path))), destination)
    _edit(holder, {}, current=config.context)
    if previous != config.context:
        write_private(config.previous_context, json.dumps({"context": previous}).encode())
    return ContextChange(config.context, previous, holder)


def remove_context(config: ClusterConfig) -> ContextChange:
    """Take the cluster's entries out of every file; when it was current, the one before becomes current again."""
    name, files = config.context, kubeconfig_files()
    before = current_context()
    for path in files:
        document = _load(path)
        here: dict[str, tuple[str, dict[str, Any] | None]] = {
            section: (name, None) for section in _SECTIONS if _find(document, section, name)
        }
        if here:
            _edit(path, here)
    after, holder = before, files[0]
    if before == name:
        holder = next(path for path in files if _current(_load(path)) == name)
        after = _remembered(config)
        if not any(_find(_load(path), "contexts", after) for path in files):
            after = ""
        _edit(holder, {}, current=after)
    config.previous_context.unlink(missing_ok=True)
    return ContextChange(after, before, holder)


def _with_chosen_namespace(item: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Our context with the namespace that its user set in it before (`kubectl config set-context --namespace`)."""
    found: dict[str, Any] = next(
        (entry for entry in document.get("contexts") or [] if entry.get("name") == item["name"]), {}
    )
    chosen = (found.get("context") or {}).get("namespace")
    return {**item, "context": {**item["context"], "namespace": chosen}} if chosen else item


def _remembered(config: ClusterConfig) -> str:
    try:
        return str(json.loads(config.previous_context.read_text())["context"])
    except FileNotFoundError:
        return ""


def _edit(path: Path, items: dict[str, tuple[str, dict[str, Any] | None]], current: str | None = None) -> None:
    """Set (or with None remove) named items and the current context of one file, keeping everything else."""
    path = path.resolve()  # a kubeconfig that is a link stays one
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    with _lock(path):
        try:
            text = path.read_text()
        except FileNotFoundError:
            text = "apiVersion: v1\nkind: Config\n"
        document, text = _parse(text, path), in_block_style(text)
        for section, (name, item) in items.items():
            kept = [entry for entry in document.get(section) or [] if entry.get("name") != name]
            position = next(
                (i for i, entry in enumerate(document.get(section) or []) if entry.get("name") == name), len(kept)
            )
            document[section] = kept if item is None else [*kept[:position], item, *kept[position:]]
            text = set_item(text, section, name, item)
        if current is not None:
            document["current-context"] = current
            text = set_scalar(text, "current-context", current)
        if not text.strip() or yaml.safe_load(text) != document:
            text = yaml.safe_dump(document, sort_keys=False)
        write_private(path, text.encode())


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold `<path>.lock` as kubectl does; wait for another writer for a while."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KaosError(
                    f"{path} is being changed by another program", hint=f"if none is running, remove {lock}"
                ) from None
            time.sleep(0.01)
        except OSError as error:
            raise unwritable(path, error) from error
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_text(), path)
    except FileNotFoundError:
        return {}


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise KaosError(
            f"{path} is not valid YAML: {error}", hint="repair it, or point KUBECONFIG elsewhere"
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KaosError(f"{path} is no kubeconfig", hint="repair it, or point KUBECONFIG elsewhere")
    return document


def _current(document: dict[str, Any]) -> str:
    return str(document.get("current-context") or "")


def _find(document: dict[str, Any], section: str, name: str) -> bool:
    return any(entry.get("name") == name for entry in document.get(section) or [])
