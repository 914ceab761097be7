"""A pydantic-ai agent behind the same service: pip install 'kaos-ext[pydantic-ai]'."""

import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from kaos_ext.runtime.agent import serve

provider = OpenAIProvider(base_url=os.environ["MODEL_API_URL"].rstrip("/") + "/v1", api_key="not-needed")
agent = Agent(OpenAIChatModel(os.environ.get("MODEL_NAME", "mock"), provider=provider))

if __name__ == "__main__":
    raise SystemExit(serve(agent, name="pydantic-agent"))
