"""Importing this imports what agents and ModelAPIs run on, so that a process that has done so can fork into them."""

from __future__ import annotations

import importlib

from kaos_ext.runtime.start import lean

_IMPORTED = (
    "kaos_ext.runtime.agent.app",
    "kaos_ext.runtime.agent.openai",
    "kaos_ext.kube.kubeconfig",
    "kaos_ext.runtime.modelapi.config",
    "kaos_ext.runtime.modelapi.proxy",
    "kaos_ext.runtime.shell_process",
    "setproctitle",
    "encodings.idna",  # which the first connection by name imports
)

with lean():
    for _name in _IMPORTED:
        importlib.import_module(_name)
