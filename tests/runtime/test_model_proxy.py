"""The model proxy in front of a real OpenAI-compatible server: allow-list, keys, streaming, mocks, trouble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.processes import Processes, Running, environment

pytestmark = pytest.mark.process
KEY = "sk-canary-0815"


@pytest.fixture(scope="module")
def upstream(machine: Processes) -> Running:
    return machine.openai("--key", KEY)


@pytest.fixture(scope="module")
def proxy(machine: Processes, upstream: Running, tmp_path_factory: pytest.TempPathFactory) -> Running:
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    key = {"api_base": "os.environ/PROXY_API_BASE", "api_key": "os.environ/PROXY_API_KEY"}
    entries = [
        {"model_name": "small", "litellm_params": {"model": "openai/small", **key}},
        {"model_name": "acme/*", "litellm_params": {"model": "acme/*", **key}},
        {"model_name": "alias", "litellm_params": {"model": "hosted_vllm/real-name", **key}},
        {"model_name": "canned", "litellm_params": {"model": "canned", "mock_response": "from the can"}},
    ]
    config.write_text(json.dumps({"model_list": entries, "litellm_settings": {"drop_params": True}}))
    env = environment(PROXY_API_BASE=f"{upstream.url}/v1", PROXY_API_KEY=KEY)
    return machine.start("modelapi", env, "--config", str(config), "--port", "0")


def ask(proxy: Running, model: str = "small", path: str = "/v1/chat/completions", **more: Any) -> Any:
    return proxy.post(path, {"model": model, "messages": [{"role": "user", "content": "hi"}], **more})


@pytest.mark.parametrize(
    ("asked", "sent"), [("small", "small"), ("acme/big", "acme/big"), ("alias", "real-name")]
)  # fmt: skip
def test_a_served_model_reaches_the_upstream_under_its_name_there(
    proxy: Running, upstream: Running, asked: str, sent: str
) -> None:
    assert ask(proxy, asked).json["choices"][0]["message"]["content"] == "You said: hi"
    request = upstream.get("/requests").json[-1]
    assert request["authorized"] and request["body"]["model"] == sent


def test_a_stream_passes_untouched(proxy: Running, upstream: Running) -> None:
    body = {"model": "small", "stream": True, "messages": [{"role": "user", "content": "a longer text"}]}
    direct = upstream.post("/v1/chat/completions", body, Authorization=f"Bearer {KEY}")
    through = proxy.post("/v1/chat/completions", body, Authorization="Bearer not-needed")
    assert through.headers["Content-Type"] == "text/event-stream"
    strip = [line.split('"created"')[0] for line in direct.text.splitlines()]
    assert [line.split('"created"')[0] for line in through.text.splitlines()] == strip and len(strip) > 10


def test_a_model_that_is_not_served_is_refused_by_name(proxy: Running) -> None:
    reply = ask(proxy, "gpt-4o")
    assert reply.status == 404
    error = reply.json["error"]
    assert error["code"] == "model_not_found" and "small, acme/*, alias, canned" in error["message"]


@pytest.mark.parametrize("body", [b"{", b'{"messages": []}', b"[]"])
def test_a_request_that_is_none_is_refused(proxy: Running, body: bytes) -> None:
    assert proxy.request("POST", "/v1/chat/completions", body, {}).status == 400


def test_the_list_of_models_fills_patterns_from_the_upstream(proxy: Running) -> None:
    listed = [model["id"] for model in proxy.get("/v1/models").json["data"]]
    assert listed == ["small", "acme/mock-model", "alias", "canned"]


def test_mock_responses_come_from_the_request_and_from_the_configuration(proxy: Running) -> None:
    assert ask(proxy, mock_response="made up").json["choices"][0]["message"]["content"] == "made up"
    assert ask(proxy, "canned").json["choices"][0]["message"]["content"] == "from the can"
    call = json.dumps({"tool_calls": [{"name": "echo", "arguments": {"message": "x"}}]})
    choice = ask(proxy, mock_response=call).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "echo", "arguments": '{"message": "x"}'}
    streamed = ask(proxy, "canned", stream=True).text
    assert streamed.count('"content": "') == 3 and streamed.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("said", [KEY, f"is it {KEY}?", f"{KEY}{KEY}", KEY[:-1], "sk-", "sk-sk-canary-0815"])
def test_the_key_is_in_no_answer_whatever_a_model_says_and_wherever_its_chunks_are_cut(
    proxy: Running, said: str
) -> None:
    asked = {"messages": [{"role": "user", "content": said}]}
    shown = f"You said: {said}".replace(KEY, "[redacted]")
    assert (
        proxy.post("/v1/chat/completions", {"model": "small", **asked}).json["choices"][0]["message"]["content"]
        == shown
    )
    reply = proxy.post("/v1/chat/completions", {"model": "small", "stream": True, **asked}).text
    chunks = [json.loads(line[6:]) for line in reply.splitlines() if line.startswith("data: {")]
    texts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(texts) == shown and len(texts) > 3 and reply.endswith("data: [DONE]\n\n")


def test_the_key_is_in_no_argument_of_a_tool_call(proxy: Running) -> None:
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "put", "parameters": parameters}}]
    asked = {"model": "small", "messages": [{"role": "user", "content": f"put {KEY}"}], "tools": tools}
    reply = proxy.post("/v1/chat/completions", {**asked, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in reply.splitlines() if line.startswith("data: {")]
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"text": "put [redacted]"}
    assert KEY not in proxy.post("/v1/chat/completions", asked).text


def test_embeddings_pass_too(proxy: Running) -> None:
    reply = proxy.post("/v1/embeddings", {"model": "small", "input": "x"})
    assert reply.json["data"][0]["embedding"] == [0.5, 0.25]


def test_errors_of_the_upstream_pass_as_they_are(proxy: Running, upstream: Running) -> None:
    upstream.post("/trouble", {"status": 429})
    reply = ask(proxy)
    assert reply.status == 429 and reply.json["error"]["code"] == "trouble"


def test_an_upstream_that_is_down_is_a_502_that_names_it(processes: Processes) -> None:
    gone = processes.openai()
    gone.kill()
    proxy = processes.start("modelapi", environment(PROXY_API_BASE=gone.url))
    reply = ask(proxy, "anything")
    assert reply.status == 502 and reply.json["error"]["code"] == "upstream_unreachable"
    assert gone.url in reply.json["error"]["message"]


def test_without_an_upstream_it_is_healthy_and_says_what_to_set(processes: Processes) -> None:
    proxy = processes.start("modelapi", environment())
    for path in ("/health/liveliness", "/health/readiness", "/health", "/ready"):
        assert proxy.get(path).status == 200
    reply = ask(proxy, "anything")
    assert reply.status == 503 and "proxyConfig.apiBase" in reply.json["error"]["message"]
    assert ask(proxy, "anything", mock_response="hm").status == 200
    assert [model["id"] for model in proxy.get("/v1/models").json["data"]] == ["*"]


def test_a_configuration_that_makes_no_sense_ends_it_with_the_reason(processes: Processes, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model_list:\n- litellm_params: {}\n")
    with pytest.raises(AssertionError, match=r"model_list\[0\] has no model_name"):
        processes.start("modelapi", environment(), "--config", str(config))


def test_it_ends_with_status_0_when_told_to(processes: Processes) -> None:
    assert processes.start("modelapi", environment()).terminate() == 0
