"""
The calls that `clients` has made: runs in an interpreter that has the libraries, and needs nothing of ours.

One line of JSON a call: client, version, dialect, what, error ("" when it did what it should).
"""

# mypy: ignore-errors
# The libraries are not in our environment.

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable

ADDRESS = os.environ["CORRAL"]
V1 = f"{ADDRESS}/v1"
WORDS = sys.argv[1]
LISTED = {"alder": "claude-3-haiku-20240307", "willow": "claude-sonnet-4-5-20250929"}
"""Names that a library knows, and whose aliases they are."""
HELLO = [{"role": "user", "content": "Who are you?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}

CALLS: list[tuple[str, str, str, Callable[[], object]]] = []


def call(package: str, dialect: str, what: str):
    """Marks a function as one call: it returns a text, the name of a tool, or a vector."""

    def mark(function):
        CALLS.append((package, dialect, what, function))
        return function

    return mark


def right(what: str, got: object) -> str:
    """What is wrong with the outcome, or ""."""
    if what == "tools":
        return "" if got == "get_weather" else f"called {got!r}"
    if what == "embeddings":
        return "" if len(got) > 8 and all(isinstance(each, float) for each in got) else f"no vector: {got!r:.200}"
    return "" if str(got).strip() == WORDS else f"said {got!r}"


def _litellm_each() -> None:
    providers = {
        "openai (chat)": ("openai/", V1),
        "openai (hosted_vllm)": ("hosted_vllm/", V1),
        "anthropic": ("anthropic/", ADDRESS),
        "ollama (generate)": ("ollama/", ADDRESS),
        "ollama (chat)": ("ollama_chat/", ADDRESS),
    }
    for dialect, (prefix, base) in providers.items():
        _litellm(dialect, prefix, {"api_base": base, "api_key": "none"})
    for dialect, prefix, base in (("openai (chat)", "openai/", V1), ("ollama (generate)", "ollama/", ADDRESS)):

        @call("litellm", dialect, "embeddings")
        def embed(prefix=prefix, base=base):
            import litellm

            answer = litellm.embedding(model=f"{prefix}cedar", input=["a text"], api_base=base, api_key="none")
            return answer.data[0]["embedding"]


def _litellm(dialect: str, prefix: str, options: dict) -> None:
    @call("litellm", dialect, "chat")
    def chat():
        import litellm

        return litellm.completion(model=f"{prefix}alder", messages=HELLO, **options).choices[0].message.content

    @call("litellm", dialect, "stream")
    def stream():
        import litellm

        parts = litellm.completion(model=f"{prefix}alder", messages=HELLO, stream=True, **options)
        return "".join(part.choices[0].delta.content or "" for part in parts)

    if dialect != "ollama (generate)":

        @call("litellm", dialect, "tools")
        def tools():
            import litellm

            answer = litellm.completion(
                model=f"{prefix}willow", messages=HELLO, tools=[TOOL], tool_choice="required", **options
            )
            return answer.choices[0].message.tool_calls[0].function.name


def _langchain(package: str, dialect: str, make: Callable[[str], object], choice: object) -> None:
    @call(package, dialect, "chat")
    def chat():
        return make("alder").invoke("Who are you?").text

    @call(package, dialect, "stream")
    def stream():
        return "".join(chunk.text for chunk in make("alder").stream("Who are you?"))

    @call(package, dialect, "tools")
    def tools():
        bound = make("willow").bind_tools([TOOL], tool_choice=choice) if choice else make("willow").bind_tools([TOOL])
        return bound.invoke("How is the weather?").tool_calls[0]["name"]


def _openai_chain(model: str):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model, base_url=V1, api_key="none")


def _openai_responses_chain(model: str):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model, base_url=V1, api_key="none", use_responses_api=True)


def _anthropic_chain(model: str):
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model=model, base_url=ADDRESS, api_key="none")


def _ollama_chain(model: str):
    from langchain_ollama import ChatOllama

    return ChatOllama(model=model, base_url=ADDRESS)


_litellm_each()
_langchain("langchain-openai", "openai (chat)", _openai_chain, "required")
_langchain("langchain-openai", "openai (responses)", _openai_responses_chain, "required")
_langchain("langchain-anthropic", "anthropic", _anthropic_chain, "any")
_langchain("langchain-ollama", "ollama (chat)", _ollama_chain, None)


@call("langchain-openai", "openai (chat)", "embeddings")
def langchain_openai_embeddings():
    from langchain_openai import OpenAIEmbeddings

    # Without this it sends tokens of its own tokenizer, which no other model has.
    return OpenAIEmbeddings(model="cedar", base_url=V1, api_key="none", check_embedding_ctx_length=False).embed_query(
        "a text"
    )


@call("langchain-ollama", "ollama (chat)", "embeddings")
def langchain_ollama_embeddings():
    from langchain_ollama import OllamaEmbeddings

    return OllamaEmbeddings(model="cedar", base_url=ADDRESS).embed_query("a text")


def _index_tool():
    from llama_index.core.tools import FunctionTool

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return city

    return FunctionTool.from_defaults(get_weather)


def _llama_index(package: str, dialect: str, make: Callable[[str], object]) -> None:
    @call(package, dialect, "chat")
    def chat():
        return make("alder").complete("Who are you?").text

    @call(package, dialect, "stream")
    def stream():
        return "".join(part.delta or "" for part in make("alder").stream_complete("Who are you?"))

    @call(package, dialect, "tools")
    def tools():
        model = make("willow")
        answer = model.chat_with_tools([_index_tool()], "How is the weather?", tool_required=True)
        return model.get_tool_calls_from_response(answer)[0].tool_name


def _openai_index(model: str):
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(model=model, api_base=V1, api_key="none", is_chat_model=True, is_function_calling_model=True)


def _anthropic_index(model: str):
    from llama_index.llms.anthropic import Anthropic

    # It takes only names of its own list: they are aliases here.
    return Anthropic(model=LISTED[model], base_url=ADDRESS, api_key="none")


def _ollama_index(model: str):
    from llama_index.llms.ollama import Ollama

    return Ollama(model=model, base_url=ADDRESS, context_window=2048)


_llama_index("llama-index-llms-openai-like", "openai (chat)", _openai_index)
_llama_index("llama-index-llms-anthropic", "anthropic", _anthropic_index)
_llama_index("llama-index-llms-ollama", "ollama (chat)", _ollama_index)


@call("llama-index-embeddings-openai-like", "openai (chat)", "embeddings")
def llama_index_openai_embeddings():
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    return OpenAILikeEmbedding(model_name="cedar", api_base=V1, api_key="none").get_text_embedding("a text")


@call("llama-index-embeddings-ollama", "ollama (chat)", "embeddings")
def llama_index_ollama_embeddings():
    from llama_index.embeddings.ollama import OllamaEmbedding

    return OllamaEmbedding(model_name="cedar", base_url=ADDRESS).get_text_embedding("a text")


def _pydantic(dialect: str, make: Callable[[str], object]) -> None:
    @call("pydantic-ai-slim", dialect, "chat")
    def chat():
        from pydantic_ai import Agent

        return Agent(make("alder")).run_sync("Who are you?").output

    @call("pydantic-ai-slim", dialect, "stream")
    def stream():
        import asyncio

        from pydantic_ai import Agent

        async def told() -> str:
            async with Agent(make("alder")).run_stream("Who are you?") as answer:
                return [text async for text in answer.stream_text()][-1]

        return asyncio.run(told())

    @call("pydantic-ai-slim", dialect, "tools")
    def tools():
        from pydantic_ai import Agent

        called = []
        agent = Agent(make("willow"))

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """The weather in a city."""
            called.append("get_weather")
            return f"{city}: fine"

        agent.run_sync("How is the weather?")
        return called[0]


def _pydantic_openai(model: str):
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(model, provider=OpenAIProvider(base_url=V1, api_key="none"))


def _pydantic_responses(model: str):
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=V1, api_key="none"))


def _pydantic_anthropic(model: str):
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    # With a base_url alone it builds a client of httpx 1, which anthropic 2 refuses.
    client = AsyncAnthropic(base_url=ADDRESS, api_key="none")
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))


_pydantic("openai (chat)", _pydantic_openai)
_pydantic("openai (responses)", _pydantic_responses)
_pydantic("anthropic", _pydantic_anthropic)


@call("instructor", "openai (chat)", "tools")
def instructor_openai():
    import instructor
    from openai import OpenAI

    client = instructor.from_openai(OpenAI(base_url=V1, api_key="none"))
    client.create(model="willow", messages=HELLO, response_model=_city())
    return "get_weather"  # it has checked the arguments itself


@call("instructor", "anthropic", "tools")
def instructor_anthropic():
    import instructor
    from anthropic import Anthropic

    client = instructor.from_anthropic(Anthropic(base_url=ADDRESS, api_key="none"))
    client.create(model="willow", max_tokens=200, messages=HELLO, response_model=_city())
    return "get_weather"


def _city():
    from enum import Enum

    from pydantic import BaseModel

    Name = Enum("Name", {"rome": "Rome", "oslo": "Oslo"})

    class City(BaseModel):
        """A city."""

        city: Name

    return City


def _llm(name: str):
    from llm.default_plugins.openai_models import Chat

    model = Chat(name, model_name=name, api_base=V1)
    model.key = "none"
    return model


@call("llm", "openai (chat)", "chat")
def llm_chat():
    return _llm("alder").prompt("Who are you?", stream=False).text()


@call("llm", "openai (chat)", "stream")
def llm_stream():
    return "".join(_llm("alder").prompt("Who are you?", stream=True))


def main() -> None:
    """Make every call whose library is here."""
    warnings.simplefilter("ignore")
    for package, dialect, what, function in CALLS:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        try:
            error = right(what, function())
        except Exception:  # whatever a library raises is the finding
            error = traceback.format_exc()
        line = {"client": package, "version": version, "dialect": dialect, "what": what, "error": error}
        print("\n" + json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
