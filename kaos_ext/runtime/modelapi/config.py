"""What the proxy serves: routes from the generated configuration (LiteLLM's file format), the allow-list in one.

An entry of `model_list` allows `model_name` (exact, or a pattern with `*`) and says under which name, where and with
which key the upstream knows it. `os.environ/NAME` stands for a variable. Without a file, every model goes to
`PROXY_API_BASE`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kaos_ext.model import podenv
from kaos_ext.model.errors import UsageError

OPENAI_BASE = "https://api.openai.com/v1"
COMPATIBLE = frozenset(
    {"openai", "openai_like", "custom_openai", "text-completion-openai", "hosted_vllm", "litellm_proxy", "lm_studio"}
    | {"llamafile", "ollama", "ollama_chat", "xinference"}
)
"""Provider prefixes whose servers speak this wire themselves: the prefix is left out of what they are asked for."""


@dataclass(frozen=True, slots=True)
class Route:
    """One served model, or pattern of models."""

    name: str
    target: str = ""
    """The upstream's name of it; a `*` takes what the `*` of `name` matched. Empty: as asked."""
    base: str = ""
    key: str = ""
    mock: str | None = None

    def match(self, model: str) -> str | None:
        """The upstream's name for `model`; None when this route does not serve it."""
        pattern = "(.*)".join(re.escape(part) for part in self.name.split("*"))
        found = re.fullmatch(pattern, model)
        if found is None:
            return None
        if not self.target:
            return model
        target = self.target.replace("*", found.group(1)) if found.groups() else self.target
        provider, _, rest = target.partition("/")
        # `<provider>/<item>` is how the generated file writes an item whose provider is set.
        return rest if rest and (rest == model or provider in COMPATIBLE) else target

    @property
    def completions_base(self) -> str:
        """Where paths like `/chat/completions` go below; empty when nothing says."""
        if self.base:
            base = self.base.rstrip("/")
            return base if urlsplit(base).path else f"{base}/v1"
        provider = self.target.partition("/")[0] if "/" in self.target else "openai"
        return OPENAI_BASE if self.key and provider == "openai" else ""


@dataclass(frozen=True, slots=True)
class Config:
    routes: tuple[Route, ...]

    def route(self, model: str) -> tuple[Route, str] | None:
        """The route for a model and the upstream's name of it: exact names win over patterns, longer ones over `*`."""
        ranked = sorted(self.routes, key=lambda route: ("*" in route.name, -len(route.name)))
        for route in ranked:
            target = route.match(model)
            if target is not None:
                return route, target
        return None

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(route.name for route in self.routes))


def load(path: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration in a file; raises UsageError that names the entry when it makes no sense."""
    base, key = env.get(podenv.PROXY_API_BASE, ""), env.get(podenv.PROXY_API_KEY, "")
    if path is None:
        return Config((Route("*", base=base, key=key),))
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {error}") from error
    entries = document.get("model_list") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path}: model_list is empty", hint="it names the models that are served")
    return Config(tuple(_route(path, index, entry, env) for index, entry in enumerate(entries)))


def _route(path: Path, index: int, entry: Any, env: Mapping[str, str]) -> Route:
    parameters = entry.get("litellm_params") or {} if isinstance(entry, dict) else None
    if not isinstance(parameters, dict) or not isinstance(entry.get("model_name"), str):
        raise UsageError(f"{path}: model_list[{index}] has no model_name")
    mock = parameters.get("mock_response")
    return Route(
        name=entry["model_name"],
        target=str(parameters.get("model") or ""),
        base=_value(parameters.get("api_base"), env) or env.get(podenv.PROXY_API_BASE, ""),
        key=_value(parameters.get("api_key"), env) or env.get(podenv.PROXY_API_KEY, ""),
        mock=None if mock is None else str(mock),
    )


def _value(value: Any, env: Mapping[str, str]) -> str:
    text = str(value or "")
    return env.get(text.removeprefix("os.environ/"), "") if text.startswith("os.environ/") else text
