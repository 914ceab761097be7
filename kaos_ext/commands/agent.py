"""`kaos agent …`: deploy and steer agents. What is asked of a running agent lies in `asking`, `watching` and `a2a`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kaos_ext.commands import common
from kaos_ext.commands.asking import invoke, memory, status, tools
from kaos_ext.commands.failures import get_existing
from kaos_ext.commands.kinds import AGENT
from kaos_ext.commands.result import Answer, Done, Result
from kaos_ext.commands.session import Session
from kaos_ext.commands.waiting import until_ready
from kaos_ext.commands.watching import iterations_done, watch
from kaos_ext.kube.objects import Object
from kaos_ext.model import podenv

__all__ = ["delete", "deploy", "get", "invoke", "list_all", "logs", "memory", "status", "tools", "wait", "watch"]


def spec_of(
    *,
    modelapi: str,
    model: str,
    image: str | None,
    description: str | None,
    instructions: str | None,
    mcp: Sequence[str],
    sub_agent: Sequence[str],
    expose: bool,
    mock_response: Sequence[str],
    env: Sequence[str],
    otel_endpoint: str | None,
    autonomous: str | None,
    auto_interval: int | None,
    auto_max_iter_runtime: int | None,
    task_max_iterations: int | None,
    task_max_runtime: int | None,
    task_max_tool_calls: int | None,
) -> Object:
    """The Agent's spec; fields that were not said are left to their defaults."""
    variables = common.environment(env)
    if mock_response:
        mocks = {"name": podenv.DEBUG_MOCK_RESPONSES, "value": json.dumps(list(mock_response), ensure_ascii=False)}
        variables = [entry for entry in variables if entry["name"] != mocks["name"]] + [mocks]
    clean = common.without_empty
    loop = {"goal": autonomous, "intervalSeconds": auto_interval, "maxIterRuntimeSeconds": auto_max_iter_runtime}
    tasks = {
        "maxIterations": task_max_iterations,
        "maxRuntimeSeconds": task_max_runtime,
        "maxToolCalls": task_max_tool_calls,
    }
    config = {
        "description": description,
        "instructions": instructions,
        "telemetry": {"enabled": True, "endpoint": otel_endpoint} if otel_endpoint else None,
        "autonomous": clean(loop),
        "taskConfig": clean(tasks),
    }
    network = {"expose": True if expose else None, "access": list(sub_agent)}
    return clean(
        {
            "modelAPI": modelapi,
            "model": model,
            "mcpServers": list(mcp),
            "agentNetwork": clean(network),
            "container": clean({"image": image, "env": variables}),
            "config": clean(config),
        }
    )


async def deploy(
    session: Session,
    *,
    name: str,
    modelapi: str,
    model: str,
    image: str | None,
    description: str | None,
    instructions: str | None,
    mcp: Sequence[str],
    sub_agent: Sequence[str],
    expose: bool,
    mock_response: Sequence[str],
    env: Sequence[str],
    otel_endpoint: str | None,
    autonomous: str | None,
    auto_interval: int | None,
    auto_max_iter_runtime: int | None,
    task_max_iterations: int | None,
    task_max_runtime: int | None,
    task_max_tool_calls: int | None,
    wait: bool,
    wait_timeout: float,
    dry_run: bool,
) -> Result:
    spec = spec_of(
        modelapi=modelapi,
        model=model,
        image=image,
        description=description,
        instructions=instructions,
        mcp=mcp,
        sub_agent=sub_agent,
        expose=expose,
        mock_response=mock_response,
        env=env,
        otel_endpoint=otel_endpoint,
        autonomous=autonomous,
        auto_interval=auto_interval,
        auto_max_iter_runtime=auto_max_iter_runtime,
        task_max_iterations=task_max_iterations,
        task_max_runtime=task_max_runtime,
        task_max_tool_calls=task_max_tool_calls,
    )
    item = common.manifest(AGENT, name, spec)
    success = f"Deployed Agent '{name}' with ModelAPI '{modelapi}'"
    return await common.deploy(session, AGENT, item, success, wait=wait, wait_timeout=wait_timeout, dry_run=dry_run)


async def list_all(session: Session, *, output: str, all_namespaces: bool) -> Result:
    return await common.list_kind(session, AGENT, output, all_namespaces)


async def get(session: Session, *, name: str, output: str) -> Result:
    return await common.get_one(session, AGENT, name, output)


async def logs(session: Session, *, name: str, follow: bool, tail: int | None, previous: bool) -> Answer:
    return await common.logs_of(session, AGENT, name, follow, tail, previous)


async def delete(session: Session, *, name: str, force: bool, wait: bool, wait_timeout: float) -> Result:
    return await common.delete_one(session, AGENT, name, wait, wait_timeout)


async def wait(session: Session, *, name: str, iterations: int | None, wait_timeout: float) -> Result:
    """Ready, or so many finished iterations."""
    kube = await session.kube()
    item = await get_existing(kube, AGENT, name)
    generation = int(item["metadata"].get("generation") or 0)
    if iterations is None:
        ready = await until_ready(session, AGENT, name, wait_timeout, generation)
        return Result(Done(f"Agent '{name}' is ready"), ready)
    state = await iterations_done(session, name, iterations, wait_timeout)
    return Result(Done(f"Agent '{name}' has finished {state.totals.iterations} iterations"), state.to_json())
