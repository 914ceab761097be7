"""Published source distributions, and environments to run their tests in, kept in a cache between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def cache() -> Path:
    chosen = os.environ.get("KAOS_CONFORMANCE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(chosen) if chosen else base / "kaos-ext" / "conformance"
    path.mkdir(parents=True, exist_ok=True)
    return path


def sdist(package: str) -> Path:
    """A fresh copy of the source distribution of the version that is installed here; the caller may change it."""
    wanted = f"{package}-{version(package)}"
    archive = cache() / f"{wanted}.tar.gz"
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as work:
            download = ["download", "--quiet", "--no-deps", "--no-binary", package, f"{package}=={version(package)}"]
            subprocess.run([sys.executable, "-m", "pip", *download, "--dest", work], check=True)
            (found,) = Path(work).glob("*.tar.gz")
            found.rename(archive)
    work = Path(tempfile.mkdtemp(prefix=f"{package}-"))
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    return work / wanted


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of a virtual environment that sees our own packages and these above them."""
    digest = hashlib.sha256("\n".join([sys.prefix, sys.version, *requirements]).encode()).hexdigest()[:12]
    root = cache() / f"{name}-{digest}"
    python = root / "bin" / "python"
    if (root / ".complete").exists():
        return python
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    site = root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "base.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *requirements]
    subprocess.run(install, check=True)
    (root / ".complete").touch()
    return python
