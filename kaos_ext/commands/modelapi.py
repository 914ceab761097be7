"""`kaos modelapi …`: models behind one address."""

from __future__ import annotations

from collections.abc import Sequence

from kaos_ext.commands import common
from kaos_ext.commands.calling import Caller
from kaos_ext.commands.failures import get_existing
from kaos_ext.commands.kinds import MODELAPI
from kaos_ext.commands.result import Answer, Reply, Result
from kaos_ext.commands.session import Session
from kaos_ext.kube.objects import Object
from kaos_ext.model.errors import UsageError
from kaos_ext.model.names import HTTP_PORT, OLLAMA_PORT
from kaos_ext.views import Message, Tone


def secret_reference(text: str) -> Object:
    """`NAME:KEY` as a reference."""
    name, colon, key = text.partition(":")
    if not colon or not name or not key:
        raise UsageError(f"Invalid --api-secret format `{text}`", hint="--api-secret NAME:KEY")
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def spec_of(
    mode: str, model: Sequence[str], provider: str | None, base_url: str | None, api_secret: str | None
) -> Object:
    """The part of a ModelAPI that says where its models come from."""
    if mode == "Hosted":
        if len(model) != 1:
            raise UsageError("a Hosted ModelAPI serves exactly one --model", hint="--mode Hosted --model smollm2:135m")
        misplaced = [flag for flag, value in (("--provider", provider), ("--base-url", base_url),
                                              ("--api-secret", api_secret)) if value]  # fmt: skip
        if misplaced:
            raise UsageError(f"{misplaced[0]} is for --mode Proxy", hint="leave it out, or --mode Proxy")
        return {"mode": mode, "hostedConfig": {"model": model[0]}}
    proxy = common.without_empty(
        {
            "models": list(model) or ["*"],
            "provider": provider,
            "apiBase": base_url,
            "apiKey": secret_reference(api_secret) if api_secret else None,
        }
    )
    return {"mode": mode, "proxyConfig": proxy}


async def deploy(
    session: Session,
    *,
    name: str,
    mode: str,
    model: Sequence[str],
    provider: str | None,
    base_url: str | None,
    api_secret: str | None,
    env: Sequence[str],
    wait: bool,
    wait_timeout: float,
    dry_run: bool,
) -> Result:
    spec = spec_of(mode, model, provider, base_url, api_secret)
    if env:
        spec["container"] = {"env": common.environment(env)}
    item = common.manifest(MODELAPI, name, spec)
    success = f"Deployed ModelAPI '{name}' in {mode} mode"
    return await common.deploy(session, MODELAPI, item, success, wait=wait, wait_timeout=wait_timeout, dry_run=dry_run)


async def list_all(session: Session, *, output: str, all_namespaces: bool) -> Result:
    return await common.list_kind(session, MODELAPI, output, all_namespaces)


async def get(session: Session, *, name: str, output: str) -> Result:
    return await common.get_one(session, MODELAPI, name, output)


async def logs(session: Session, *, name: str, follow: bool, tail: int | None, previous: bool) -> Answer:
    return await common.logs_of(session, MODELAPI, name, follow, tail, previous)


async def delete(session: Session, *, name: str, force: bool, wait: bool, wait_timeout: float) -> Result:
    return await common.delete_one(session, MODELAPI, name, wait, wait_timeout)


async def invoke(
    session: Session,
    *,
    name: str,
    message: str,
    model: str | None,
    timeout: float,  # noqa: ASYNC109 - a flag's name
    port: int | None,
) -> Result:
    kube = await session.kube()
    item = await get_existing(kube, MODELAPI, name)
    hosted = item["spec"].get("mode") == "Hosted"
    caller = Caller(kube, MODELAPI, name, OLLAMA_PORT if hosted else HTTP_PORT, timeout)
    body = {"model": model or _first_model(item), "messages": [{"role": "user", "content": message}]}
    answer = await caller.json("POST", "/v1/chat/completions", body=body)
    choices = answer.get("choices") or [{}]
    text = str((choices[0].get("message") or {}).get("content") or "")
    chat = Reply(name, (Message("user", message), Message("agent", text)), str(answer.get("model") or ""), Tone.MODEL)
    return Result(chat, answer)


def _first_model(item: Object) -> str:
    spec = item["spec"]
    named = [(spec.get("hostedConfig") or {}).get("model"), *((spec.get("proxyConfig") or {}).get("models") or ())]
    concrete = [model for model in named if model and "*" not in model]
    if not concrete:
        raise UsageError(f"ModelAPI {item['metadata']['name']} accepts any model: say which", hint="--model gpt-4o")
    return str(concrete[0])
