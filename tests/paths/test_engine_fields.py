"""Fields that an engine cannot bear do not reach it, by whatever road, and load nothing."""

from __future__ import annotations

import json

import pytest

from corral.domain.fleet import ModelSpec
from corral.engines.llamacpp.requests import OWN_FIELDS
from tests.paths.relay_kit import say, stage

MODELS = (
    ModelSpec("m", slots=2),
    ModelSpec("other", engine="command"),
    ModelSpec("theirs", engine="remote", options={"speaks": "llama.cpp"}, slots=2),
)
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/completion", {"prompt": "x", "n_discard": -1}),
        ("/v1/chat/completions", {"messages": [], "n_discard": -1}),
        ("/v1/embeddings", {"input": "x", "embd_normalize": -7}),
        ("/v1/rerank", {"query": "x", "documents": [], "top_n": -1}),
        ("/upstream/m/completion", {"prompt": "x", "id_slot": 7}),
        ("/upstream/m/v1/chat/completions", {"messages": [], "n": 3}),
    ],
)
async def test_it_is_told_before_anything_is_loaded(path: str, fields: dict[str, object]) -> None:
    async with stage(models=MODELS, own_fields=OWN_FIELDS) as scene:
        got = await scene.post(path, {"model": "m", **fields})
        name = list(fields)[-1]
        assert (got.status, got.code) == (400, "bad_request")
        assert got.json()["error"]["message"].startswith(f"{name} must be from ")
        assert not scene.upstream.heard and scene.at_rest()
        marked = b"\xef\xbb\xbf" + json.dumps({"model": "m", **fields}).encode()
        assert (await scene.post(path, marked)).status == 400 and not scene.upstream.heard


async def test_a_translated_request_is_refused_in_its_own_words() -> None:
    async with stage(say(ANSWER), models=MODELS, own_fields=OWN_FIELDS, speaks=("llama.cpp",)) as scene:
        asked = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": False}
        got = await scene.post("/api/chat", {**asked, "options": {"repeat_last_n": 2**31 - 1}})
        assert got.status == 400 and "repeat_last_n must be from -1" in got.json()["error"]
        assert not scene.upstream.heard and scene.at_rest()
        assert (await scene.post("/api/chat", asked)).status == 200


async def test_a_llama_server_of_others_is_kept_from_them_too() -> None:
    async with stage(models=MODELS, own_fields=OWN_FIELDS) as scene:
        got = await scene.post("/completion", {"model": "theirs", "prompt": "x", "n_discard": -1})
        assert got.status == 400 and not scene.upstream.heard


async def test_other_engines_are_left_alone() -> None:
    async with stage(models=MODELS, own_fields=OWN_FIELDS) as scene:
        assert (await scene.post("/completion", {"model": "other", "n_discard": -1})).status == 200
        assert (await scene.post("/upstream/m/anything", b"--not json")).status == 200
