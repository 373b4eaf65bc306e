"""remote: an address is read, checked and attached to."""

from __future__ import annotations

from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import Attach, Place
from corral.engines.remote import RemoteEngine

PLACE = Place("i", "/s")


def model(**options: Any) -> ModelSpec:
    return ModelSpec("m", engine="remote", options=options)


async def test_the_address_becomes_an_endpoint() -> None:
    plan = await RemoteEngine().plan(model(base_url="http://gpu.local:8000/llm/", api_key="k-1"), PLACE)
    assert isinstance(plan, Attach)
    end = plan.endpoint
    assert (end.host, end.port, end.base_path, end.key, end.tls) == ("gpu.local", 8000, "/llm", "k-1", False)
    assert "k-1" not in repr(plan)
    bare = await RemoteEngine().plan(model(base_url="http://[::1]"), PLACE)
    assert isinstance(bare, Attach) and (bare.endpoint.host, bare.endpoint.port) == ("::1", 80)


async def test_a_llama_server_is_spoken_to_as_one() -> None:
    for speaks, endpoint in ({}, ()), ({"speaks": "openai"}, ()), ({"speaks": "llama.cpp"}, ("llama.cpp",)):
        plan = await RemoteEngine().plan(model(base_url="http://x", **speaks), PLACE)
        assert isinstance(plan, Attach) and plan.endpoint.speaks == endpoint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs options.base_url"),
        ({"base_url": "https://api.example.com"}, "https is not possible yet"),
        ({"base_url": "ftp://x"}, "is not an address"),
        ({"base_url": "gpu:8000"}, "is not an address"),
        ({"base_url": "http://"}, "is not an address"),
        ({"base_url": "http://x:99999"}, "not an address"),
        ({"base_url": "http://x:0"}, "is not an address"),
        ({"base_url": "http://u:p@x"}, "api_key"),
        ({"base_url": "http://x/?a=1"}, "before the ?"),
        ({"base_url": "http://x/v1/"}, "/v1"),
        ({"base_url": "http://x", "api_key": "a\r\nb"}, "api_key"),
        ({"base_url": "http://x", "api_key": ""}, "api_key"),
        ({"base_url": "http://x", "health": "health"}, "slash"),
        ({"base_url": "http://x", "speaks": "ollama"}, "speaks"),
        ({"base_url": "http://x", "parallel": 0}, "parallel must be"),
        ({"base_url": "http://x", "ctx": 1}, "options.ctx is not an option"),
    ],
)
async def test_what_cannot_be_is_a_sentence(options: dict[str, Any], words: str) -> None:
    (sentence,) = RemoteEngine().problems(model(**options))
    assert words in sentence and sentence.endswith(".")
    with pytest.raises(StartFailed) as caught:
        await RemoteEngine().plan(model(**options), PLACE)
    assert caught.value.permanent and "b\r\n" not in caught.value.message


def test_slots() -> None:
    assert RemoteEngine().slots(model(base_url="http://x")) == 64
    assert RemoteEngine().slots(model(base_url="http://x", parallel=2)) == 2


def test_what_needs_a_process_is_refused() -> None:
    wrong = ModelSpec("m", Source("/m.gguf"), options={"base_url": "http://x"}, args=(("a", 1),), env=(("A", "b"),))
    assert [text.split()[0] for text in RemoteEngine().problems(wrong)] == ["args", "env", "source"]


def test_it_never_became_ready() -> None:
    error = RemoteEngine().diagnose(model(base_url="http://x:1"), None, [])
    assert "http://x:1" in error.message and "running" in error.hint
