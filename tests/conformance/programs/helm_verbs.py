"""The Helm SDK's verbs on the chart of argv[1], one line of JSON each: the verb and what is wrong with it, or null."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import helm_python

chart = sys.argv[1]
helm = helm_python.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace="default")


def revisions() -> list[Any]:
    listed = helm.list()
    found = listed if isinstance(listed, list) else listed.get("releases", [])
    return [one for one in found if one["name"] == "site"]


def listed() -> None:
    (one,) = revisions()
    assert str(one.get("version") or one.get("revision")) == "2", one


def uninstall() -> None:
    helm.uninstall("site", wait="watcher", timeout=60)
    assert not revisions()


VERBS: dict[str, Callable[[], Any]] = {
    "install": lambda: helm.install(chart, "site", {}, wait="watcher", timeout=60, namespace="default"),
    "upgrade": lambda: helm.upgrade(
        chart, "site", {"replicas": 2, "text": "second"}, wait="watcher", timeout=60, namespace="default"
    ),
    "list": listed,
    "rollback": lambda: helm.rollback("site", version=1, wait="watcher", timeout=60),
    "uninstall": uninstall,
}
for verb, does in VERBS.items():
    wrong = None
    try:
        does()
    except (helm_python.HelmError, AssertionError, ValueError) as error:
        wrong = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps({"verb": verb, "wrong": wrong}) + "\n")
    sys.stdout.flush()
