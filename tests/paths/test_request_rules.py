"""Rules, profiles and default Models over sockets: what the engine gets, byte for byte, and what it does not."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from typing import Any

import pytest

from corral.domain.fleet import ModelSpec
from corral.domain.requests import DefaultModels, ProfileSpec, RequestRules
from tests.corrals import corral, fake
from tests.paths.relay_kit import Heard, Stage, answer, say, stage
from tests.paths.test_relay_control import FakeControl

RULES = RequestRules({"temperature": 0}, ("logit_bias",), {"cache_prompt": False})
HOT = ProfileSpec("hot", RequestRules(set={"temperature": 1.5}), ("poet",))
RULED = ModelSpec("m", request=RULES, profiles=(HOT,))
PLAIN = ModelSpec("plain")
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
FILE = bytes(range(256)) * 40
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n%b\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\r\n--b--\r\n'
)
FORM_TYPE = "Content-Type: multipart/form-data; boundary=b"


def heard(scene: Stage) -> Heard:
    return scene.upstream.heard[-1]


async def test_the_engine_gets_the_request_as_the_rules_leave_it() -> None:
    async with stage(models=(RULED, PLAIN)) as scene:
        assert (await scene.post("/v1/chat/completions", {"model": "m", "logit_bias": {"1": 1}, **ASKED})).status == 200
        assert json.loads(heard(scene).body) == {"model": "m", **ASKED, "temperature": 0, "cache_prompt": False}
        body = b'{ "model": "plain",\n"messages":[] ,"logit_bias":{}}'
        assert (await scene.post("/v1/chat/completions", body)).status == 200
        assert heard(scene).body == body, "a Model without rules: every byte as it came"


async def test_a_profile_is_the_same_model_with_other_parameters() -> None:
    async with stage(models=(RULED, PLAIN)) as scene:
        for name in ("m:hot", "poet"):
            got = await scene.post("/v1/chat/completions", {"model": name, "temperature": 0.1, **ASKED})
            assert got.status == 200
            sent = json.loads(heard(scene).body)
            assert (sent["model"], sent["temperature"], sent["cache_prompt"]) == ("m", 1.5, False)
        assert [each.model for each in scene.record.finished] == ["m", "m"]
        got = await scene.get("/v1/models")
        assert got.status == 404 or "m:hot" not in got.body.decode()


async def test_translated_requests_are_ruled_as_they_are_sent() -> None:
    whole = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
    async with stage(say(whole), models=(RULED, PLAIN)) as scene:
        got = await scene.post(
            "/api/chat", {"model": "poet", "stream": False, **ASKED, "options": {"temperature": 0.3}}
        )
        assert (got.status, got.json()["model"]) == (200, "poet")
        sent = json.loads(heard(scene).body)
        assert (sent["model"], sent["temperature"], sent["cache_prompt"]) == ("m", 1.5, False)


async def test_what_follows_a_first_answer_is_ruled_too() -> None:
    """A text that is too long is counted and asked for again, cut: each of these requests is one to the engine."""
    too_long = {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error", "n_ctx": 2}}

    async def engine(request: Heard, writer: asyncio.StreamWriter) -> None:
        body = json.loads(request.body)
        if "/tokenize" in request.line:
            writer.write(answer(json.dumps({"tokens": [1, 2, 3] if body["content"] else []}).encode()))
        elif isinstance(body["input"][0], str):
            writer.write(answer(json.dumps(too_long).encode(), status="400 Bad Request"))
        else:
            writer.write(answer(b'{"data":[{"embedding":[1.0]}],"usage":{"prompt_tokens":2}}'))

    async with stage(engine, models=(RULED,)) as scene:
        scene.leases.move("m", dataclasses.replace(scene.upstream.endpoint, speaks=("llama.cpp",)))
        got = await scene.post("/api/embed", {"model": "m", "input": "a long text"})
        assert (got.status, got.json()["embeddings"]) == (200, [[1.0]])
        assert [each.line.split()[1] for each in scene.upstream.heard] == [
            "/v1/embeddings", "/tokenize", "/tokenize", "/v1/embeddings"
        ]  # fmt: skip
        sent = [json.loads(each.body) for each in scene.upstream.heard]
        assert [each["cache_prompt"] for each in sent] == [False] * 4 and sent[3]["input"] == [[1, 2]]


async def test_requests_that_name_no_model_or_one_that_is_not_there() -> None:
    async with stage(models=(RULED, PLAIN, ModelSpec("e", task="embeddings"))) as scene:
        assert (await scene.post("/v1/chat/completions", ASKED)).code == "bad_request"
        defaults = {"chat": "plain", "embeddings": "e"}
        scene.directory.replace(scene.directory.models.values(), None, DefaultModels(defaults))
        assert (await scene.post("/v1/chat/completions", ASKED)).status == 200
        assert json.loads(heard(scene).body) == ASKED
        assert (await scene.post("/v1/embeddings", {"input": "x"})).status == 200
        assert (await scene.post("/v1/rerank", {"query": "x", "documents": []})).code == "bad_request"
        assert (await scene.post("/v1/chat/completions", {"model": "gpt-5", **ASKED})).code == "model_not_found"
        scene.directory.replace(scene.directory.models.values(), None, DefaultModels(defaults, for_unknown=True))
        assert (await scene.post("/v1/chat/completions", {"model": "gpt-5", **ASKED})).status == 200
        assert json.loads(heard(scene).body) == {"model": "plain", **ASKED}
        assert (await scene.post("/v1/rerank", {"model": "gpt-5"})).code == "model_not_found"
        models = [each.model for each in scene.record.finished if each.status == 200]
        assert models == ["plain", "e", "plain"]


SAID = {"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}
STAND_INS = {
    "/api/chat": ASKED,
    "/api/generate": {"prompt": "hello", "raw": False},
    "/v1/messages": {**ASKED, "max_tokens": 9},
    "/v1/messages/count_tokens": ASKED,
    "/v1/responses": {"input": "hello"},
    "/v1/responses/input_tokens": {"input": "hello"},
}


@pytest.mark.parametrize("path", STAND_INS)
async def test_a_stand_in_answers_in_every_dialect(path: str) -> None:
    said = {**SAID, "input_tokens": 3}
    async with stage(say(said), models=(RULED, PLAIN)) as scene:
        asked = {"model": "gpt-5:8b", "stream": False, **STAND_INS[path]}
        assert (await scene.post(path, asked)).status == 404
        defaults = DefaultModels({"chat": "plain"}, for_unknown=True)
        scene.directory.replace(scene.directory.models.values(), None, defaults)
        got = await scene.post(path, asked)
        assert got.status == 200 and got.json().get("model", "gpt-5:8b") == "gpt-5:8b", "by the name that was asked for"
        assert json.loads(heard(scene).body)["model"] == "plain" and scene.record.finished[-1].model == "plain"


async def test_who_stands_in_is_not_sent_away_by_a_name_that_nobody_has() -> None:
    async with stage(models=(RULED, PLAIN), control=FakeControl()) as scene:
        defaults = DefaultModels({"chat": "plain"}, for_unknown=True)
        scene.directory.replace(scene.directory.models.values(), None, defaults)
        got = await scene.post("/api/generate", {"model": "gpt-5", "keep_alive": 0})
        assert (got.status, got.json()["error"]) == (404, "model 'gpt-5' not found")
        assert (await scene.post("/api/generate", {"model": "plain:latest", "keep_alive": 0})).status == 200
        for path, asked in (("/api/show", {"model": "gpt-5"}), ("/v1/models/gpt-5", None)):
            got = await (scene.get(path) if asked is None else scene.post(path, asked))
            assert got.status == 404, "what is told of Models is told of those that are there"


async def test_forms_keep_every_byte_but_the_name() -> None:
    def digest(name: bytes) -> str:
        return hashlib.sha256(FORM % (FILE, name)).hexdigest()

    async with stage(models=(RULED, PLAIN)) as scene:
        routes = ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations")
        for route in routes:
            assert (await scene.post(route, FORM % (FILE, b"plain"), FORM_TYPE)).status == 200
            assert hashlib.sha256(heard(scene).body).hexdigest() == digest(b"plain")
            assert heard(scene).headers["content-type"] == FORM_TYPE.partition(": ")[2]
            assert (await scene.post(route, FORM % (FILE, b"m:hot"), FORM_TYPE)).status == 200
            assert hashlib.sha256(heard(scene).body).hexdigest() == digest(b"m")


async def test_speech_and_images_pass_as_they_are() -> None:
    audio = b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: %d\r\n\r\n%b" % (len(FILE), FILE)

    async def play(request: Heard, writer: Any) -> None:
        writer.write(audio)

    async with stage(play, models=(PLAIN,)) as scene:
        for route in ("/v1/audio/speech", "/v1/images/generations"):
            body = b'{"model":"plain","input":"\\u00e4","voice" :"x"}'
            got = await scene.post(route, body)
            assert (got.status, got.headers["content-type"], got.body) == (200, "audio/wav", FILE)
            assert heard(scene).body == body and heard(scene).line.startswith(f"POST {route} ")


async def test_rules_change_under_a_running_engine() -> None:
    """A reload that changes nothing but what is done to requests, and under which names, starts nothing anew."""
    async with corral({"a": fake(), "b": fake(request=RequestRules(set={"max_tokens": 1}))}) as running:
        assert [len((await running.text(name)).split()) for name in ("a", "b")] == [3, 1]
        settings, pids = running.app.settings, sorted(running.engine_pids())
        short, poet = RequestRules(set={"max_tokens": 2}), ProfileSpec("poet", RequestRules(set={"max_tokens": 1}))
        models = {
            "a": dataclasses.replace(settings.fleet.models["a"], request=short, profiles=(poet,)),
            "b": dataclasses.replace(settings.fleet.models["b"], request=None),
        }
        fleet = dataclasses.replace(settings.fleet, models=models)
        await running.app.reload(lambda: dataclasses.replace(settings, fleet=fleet))
        words = [len((await running.text(name)).split()) for name in ("a", "a:poet", "b")]
        assert words == [2, 1, 3]
        assert sorted(running.engine_pids()) == pids and len(pids) == 2
        assert [running.state(name) for name in ("a", "b")] == ["ready", "ready"]
