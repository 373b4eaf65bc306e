"""Ollama's inference routes over sockets: what engines are asked and clients are told, loads, refusals, bad days."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from corral.domain.errors import BadRequest, QueueFull, StartFailed
from corral.domain.facts import ModelFacts
from corral.domain.fleet import ModelSpec, Timeouts
from corral.domain.launch import AS_CONFIGURED
from corral.gateway.translate import AskedChat
from tests.clients import CLIENTS
from tests.paths.relay_kit import SSE_HEAD, Heard, Script, Stage, answer, chunk, say, stage, until, write

TURN: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PROMPT: dict[str, Any] = {"model": "m", "prompt": "hello"}
INPUT: dict[str, Any] = {"model": "m", "input": "hello"}
ROUTES = [("/api/chat", TURN), ("/api/generate", PROMPT), ("/api/embed", INPUT), ("/api/embeddings", PROMPT)]
STREAMS = ROUTES[:2]


def event(**fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(fields).encode()


def piece(**delta: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])


CHAT = [
    piece(role="assistant", content=None),
    piece(reasoning_content="Hm"),
    piece(content="Grüß "),
    piece(content="dich"),
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3}, timings={"prompt_ms": 1.5}),
    b"data: [DONE]\n\n",
]
NATIVE = [
    event(content="Grüß ", stop=False),
    event(content="dich", stop=False),
    event(content="", stop=True, stop_type="eos", tokens_evaluated=7, tokens_predicted=3, timings={"prompt_ms": 1.5}),
]


def stream(events: list[bytes]) -> Script:
    return write(SSE_HEAD, *map(chunk, events), b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def llama(script: Script, **more: Any) -> AsyncIterator[Stage]:
    """As `stage`, with an engine that is llama.cpp."""
    async with stage(script, **more) as scene:
        for model in list(scene.leases.endpoints):
            endpoint = dataclasses.replace(scene.upstream.endpoint, speaks=("llama.cpp",))
            scene.leases.move(model, endpoint)
        yield scene


def lines(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.decode().splitlines()]


def text(found: list[dict[str, Any]]) -> str:
    return "".join(each["message"]["content"] if "message" in each else each["response"] for each in found)


def sent(scene: Stage, place: int = 0) -> tuple[str, dict[str, Any]]:
    heard = scene.upstream.heard[place]
    return heard.line.split()[1], json.loads(heard.body)


# --- generate ---


async def test_a_prompt_is_a_chat_of_one_turn() -> None:
    async with llama(stream(CHAT)) as scene:
        got = await scene.post("/api/generate", {**PROMPT, "system": "Be.", "think": True, "options": {"top_k": 3}})
        assert (got.status, got.headers["content-type"]) == (200, "application/x-ndjson")
        found = lines(got.body)
        assert text(found) == "Grüß dich" and found[0]["thinking"] == "Hm"
        assert (found[-1]["done"], found[-1]["done_reason"], found[-1]["eval_count"]) == (True, "stop", 3)
        path, body = sent(scene)
        assert path == "/v1/chat/completions" and body["top_k"] == 3
        assert body["messages"] == [{"role": "system", "content": "Be."}, {"role": "user", "content": "hello"}]
        assert body["chat_template_kwargs"] == {"enable_thinking": True}
        record = await scene.record.one()
        assert (record.route, record.outcome, record.completion_tokens) == ("/api/generate", "ok", 3)


@pytest.mark.parametrize("streams", [True, False])
async def test_a_context_is_the_conversation_so_far(streams: bool) -> None:
    said = {"choices": [{"message": {"role": "assistant", "content": "Grüß dich"}, "finish_reason": "stop"}]}
    async with stage(stream(CHAT) if streams else say(said)) as scene:  # any engine will do
        asked = {**PROMPT, "stream": streams}
        context: list[int] | None = None
        for _ in range(2):
            got = await scene.post("/api/generate", {**asked, "context": context, "images": None})
            *before, last = lines(got.body)
            assert last["done"] and not any("context" in each for each in before)
            context = last["context"]
        turns = [(each["role"], each["content"]) for each in sent(scene, 1)[1]["messages"]]
        assert turns == [("user", "hello"), ("assistant", "Grüß dich"), ("user", "hello")]
        got = await scene.post("/api/generate", {**asked, "context": [128000, 15339]})
        assert (got.status, got.json()["code"]) == (400, "bad_request") and len(scene.upstream.heard) == 2


@pytest.mark.parametrize(
    ("fields", "path", "part"),
    [
        ({"raw": True}, "/completion", {"prompt": "hello"}),
        ({"suffix": "end"}, "/infill", {"input_prefix": "hello", "input_suffix": "end"}),
        ({"template": "<{{ .Prompt }}>{{ .Response }}"}, "/completion", {"prompt": "<hello>"}),
    ],
)
async def test_what_is_continued_as_it_stands(fields: dict[str, Any], path: str, part: dict[str, Any]) -> None:
    asked = {**PROMPT, **fields, "options": {"num_predict": 5}}
    async with llama(stream(NATIVE)) as scene:
        found = lines((await scene.post("/api/generate", asked)).body)
        assert text(found) == "Grüß dich" and found[-1]["prompt_eval_count"] == 7 and found[-1]["eval_count"] == 3
        assert ("context" in found[-1]) == ("template" in fields)
        assert sent(scene) == (path, {"model": "m", "stream": True, "n_predict": 5, **part})
    whole = {"content": "hi", "stop": True, "stop_type": "limit", "tokens_predicted": 2}
    async with llama(say(whole)) as scene:
        body = (await scene.post("/api/generate", {**asked, "stream": False})).json()
        assert (body["response"], body["done_reason"], body["eval_count"]) == ("hi", "length", 2)


async def test_engines_without_llama_cpp_s_routes_get_openai_s() -> None:
    events = [event(choices=[{"index": 0, "text": "hi", "finish_reason": "stop"}]), b"data: [DONE]\n\n"]
    async with stage(stream(events)) as scene:
        assert text(lines((await scene.post("/api/generate", {**PROMPT, "suffix": "end"})).body)) == "hi"
        path, body = sent(scene)
        assert (path, body["prompt"], body["suffix"]) == ("/v1/completions", "hello", "end")


@pytest.mark.parametrize("events", [CHAT, NATIVE])
async def test_no_cut_of_a_stream_changes_the_answer(events: list[bytes]) -> None:
    whole = b"".join(events)
    asked = {**PROMPT, "raw": events is NATIVE}
    for at in range(1, len(whole)):
        async with llama(write(SSE_HEAD, chunk(whole[:at]), chunk(whole[at:]), b"0\r\n\r\n")) as scene:
            found = lines((await scene.post("/api/generate", asked)).body)
            assert (text(found), found[-1]["done"], found[-1]["eval_count"]) == ("Grüß dich", True, 3), at


# --- loads ---


@pytest.mark.parametrize(
    ("path", "asked", "told"),
    [
        ("/api/chat", {"model": "m"}, {"message": {"role": "assistant", "content": ""}, "done_reason": "load"}),
        ("/api/chat", {"model": "m", "messages": []}, {"done": True, "done_reason": "load"}),
        ("/api/generate", {"model": "m", "prompt": ""}, {"response": "", "done": True, "done_reason": "load"}),
        ("/api/embed", {"model": "m", "input": []}, {"embeddings": []}),
        ("/api/embeddings", {"model": "m"}, {"embedding": []}),
    ],
)
async def test_who_asks_for_nothing_gets_the_model_loaded(path: str, asked: Any, told: dict[str, Any]) -> None:
    async with stage() as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post(path, asked)
        await until(lambda: bool(scene.leases.waiting))
        assert scene.leases.weights == [0] and await client.silent()  # it waits for the load, and takes no slot
        scene.leases.grant_all()
        got = await client.got()
        assert (got.status, got.headers["content-type"]) == (200, "application/json")
        assert got.headers["x-corral-source"] == "corral"
        assert {name: got.json()[name] for name in told} == told
        assert not scene.upstream.heard and scene.at_rest()
        record = await scene.record.one()
        assert (record.route, record.outcome, record.status, record.model) == (path, "ok", 200, "m")


async def test_a_load_that_fails_is_told() -> None:
    async with stage() as scene:
        scene.leases.refuse_with = StartFailed("The file is damaged.")
        got = await scene.post("/api/generate", {"model": "m"})
        assert (got.status, got.json()["error"]) == (503, "The file is damaged.")
        assert got.json()["source"] == "engine" and scene.at_rest()


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0])
async def test_keep_alive_0_alone_lets_it_go(path: str, keep_alive: Any) -> None:
    async with stage(models=(ModelSpec("m", pin=True),)) as scene:  # a pin is the scheduler's to know of
        got = await scene.post(path, {"model": "M:latest", "keep_alive": keep_alive})
        assert (got.status, got.json()["done_reason"], got.json()["done"]) == (200, "unload", True)
        assert scene.leases.kept == [("m", 0.0)]
        assert scene.leases.asked == 0 and (await scene.record.one()).outcome == "ok"
        again = await scene.post(path, {"model": "m", "keep_alive": 0})
        assert again.status == 200


async def test_a_load_without_options_is_one_of_the_model_as_it_was_configured() -> None:
    async with stage() as scene:
        await scene.post("/api/generate", {"model": "m"})
        await scene.post("/api/chat", TURN)
        assert scene.leases.wishes == [AS_CONFIGURED, None]


async def test_an_engine_that_cannot_be_asked_such_a_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(asked: Any, served: Any) -> Any:
        raise BadRequest("Not with this engine.")

    monkeypatch.setattr(AskedChat, "towards", impossible)
    async with stage() as scene:
        got = await scene.post("/api/chat", TURN)
        assert (got.status, got.json()["error"]) == (400, "Not with this engine.")
        assert scene.at_rest() and (await scene.record.one()).outcome == "refused"


# --- embed ---

TOO_LONG = {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error", "n_ctx": 4}}


def vectors(*rows: list[float], tokens: int = 5) -> dict[str, Any]:
    return {
        "data": [{"index": place, "embedding": row} for place, row in enumerate(rows)],
        "usage": {"prompt_tokens": tokens},
    }


async def test_vectors_of_llama_cpp_pass_as_they_are() -> None:
    async with llama(say(vectors([0.6, 0.8], [1.0, 0.0]))) as scene:
        got = await scene.post("/api/embed", {**INPUT, "input": ["a", "b"]})
        body = got.json()
        assert body["embeddings"] == [[0.6, 0.8], [1.0, 0.0]] and body["prompt_eval_count"] == 5
        assert body["model"] == "m" and body["total_duration"] > 0 and body["load_duration"] >= 0
        assert sent(scene) == (
            "/v1/embeddings",
            {"model": "m", "input": ["a", "b"], "encoding_format": "float", "embd_normalize": 2},
        )
        cut = (await scene.post("/api/embed", {**INPUT, "input": ["a", "b"], "dimensions": 1})).json()
        assert cut["embeddings"] == [[1.0], [1.0]]


async def test_vectors_of_others_are_made_unit_vectors() -> None:
    async with stage(say(vectors([3.0, 4.0]))) as scene:
        assert (await scene.post("/api/embed", INPUT)).json()["embeddings"] == [[0.6, 0.8]]
        assert "embd_normalize" not in sent(scene)[1]
        assert (await scene.post("/api/embeddings", PROMPT)).json() == {"embedding": [3.0, 4.0]}
        assert (await scene.post("/api/embed", {**INPUT, "input": ["a", "b"]})).status == 502


async def test_a_text_that_is_too_long_is_cut() -> None:
    long, short = "a long text", "b"

    async def engine(request: Heard, writer: asyncio.StreamWriter) -> None:
        body, path = json.loads(request.body), request.line.split()[1]
        if path == "/tokenize":
            tokens = [1, *range(10, 10 + len(body["content"].split())), *([11] * 9 if body["content"] else []), 2]
            writer.write(answer(json.dumps({"tokens": tokens}).encode()))
        elif any(each == long for each in body["input"]):
            writer.write(answer(json.dumps(TOO_LONG).encode(), status="400 Bad Request"))
        else:
            writer.write(answer(json.dumps(vectors([1.0], [1.0])).encode()))

    async with llama(engine) as scene:
        got = await scene.post("/api/embed", {**INPUT, "input": [short, long]})
        assert got.json()["embeddings"] == [[1.0], [1.0]]
        assert [sent(scene, n)[0] for n in range(4)] == ["/v1/embeddings", "/tokenize", "/tokenize", "/v1/embeddings"]
        assert sent(scene, 3)[1]["input"] == [short, [1, 10, 11, 2]]
        assert scene.leases.asked == 1 and scene.at_rest()
        assert (await scene.record.one()).prompt_tokens == 5
        refused = await scene.post("/api/embed", {**INPUT, "input": [short, long], "truncate": False})
        assert (refused.status, refused.json()["error"]) == (400, "the input length exceeds the context length")


def forgetful(tokens_each: int) -> Script:
    """An engine with a context of 100 tokens, and messages of so many."""

    async def engine(request: Heard, writer: asyncio.StreamWriter) -> None:
        body, path = json.loads(request.body), request.line.split()[1]
        tokens = tokens_each * len(body["messages"])
        if path == "/v1/chat/completions/input_tokens":
            writer.write(answer(json.dumps({"input_tokens": tokens}).encode()))
        elif tokens >= 100:
            writer.write(answer(json.dumps(TOO_LONG_CHAT).encode(), status="400 Bad Request"))
        else:
            writer.write(SSE_HEAD + b"".join(map(chunk, CHAT)) + b"0\r\n\r\n" if body.get("stream") else WHOLE)

    return engine


TOO_LONG_CHAT = {"error": {"type": "exceed_context_size_error", "message": "request exceeds", "n_ctx": 100}}
WHOLE = answer(json.dumps({"choices": [{"message": {"content": "Grüß dich"}, "finish_reason": "stop"}]}).encode())
LONG_TALK = [{"role": "system", "content": "s"}] + [
    {"role": role, "content": str(turn)} for turn in range(5) for role in ("user", "assistant")
]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_conversation_that_is_too_long_loses_its_beginning(streams: bool) -> None:
    asked = {"model": "m", "messages": [*LONG_TALK, {"role": "user", "content": "now"}], "stream": streams}
    async with llama(forgetful(20)) as scene:
        got = await scene.post("/api/chat", asked)
        assert got.status == 200 and text(lines(got.body)) == "Grüß dich"
        path, body = sent(scene, -1)
        assert path == "/v1/chat/completions" and [each["content"] for each in body["messages"]] == ["s", "4", "now"]
        assert scene.leases.asked == 1 and scene.at_rest() and (await scene.record.one()).outcome == "ok"
        refused = await scene.post("/api/chat", {**asked, "truncate": False})
        assert refused.status == 400
        assert refused.json()["error"].startswith("the input length exceeds the context length")


async def test_it_does_so_after_a_sign_of_life_too() -> None:
    asked = {"model": "m", "messages": [*LONG_TALK, {"role": "user", "content": "now"}]}
    quick = (ModelSpec("m", timeouts=Timeouts(heartbeat_s=0.1)),)
    async with llama(forgetful(20), models=quick) as scene:
        scene.leases.hold = True
        client = await scene.client()
        client.post("/api/chat", asked)
        assert (await client.head())[0] == 200
        scene.leases.grant_all()
        body = b""
        while piece_ := await client.chunk():
            body += piece_
        found = lines(body)
        assert text(found) == "Grüß dich" and found[-1]["done"] is True
        assert [each["content"] for each in sent(scene, -1)[1]["messages"]] == ["s", "4", "now"]


@pytest.mark.parametrize("tokens", [b"nonsense", b'{"tokens": "x"}'])
async def test_an_engine_that_cannot_count(tokens: bytes) -> None:
    async def engine(request: Heard, writer: asyncio.StreamWriter) -> None:
        if "/tokenize" in request.line:
            writer.write(answer(tokens))
        else:
            writer.write(answer(json.dumps(TOO_LONG).encode(), status="400 Bad Request"))

    async with llama(engine) as scene:
        got = await scene.post("/api/embed", INPUT)
        assert (got.status, got.json()["code"]) == (502, "engine_protocol_error") and scene.at_rest()


# --- names, and who cannot ---


async def test_names_as_clients_write_them() -> None:
    async with stage(stream(CHAT), models=(ModelSpec("Qwen3", aliases=("coder:7b",)), ModelSpec("b:latest"))) as scene:
        for name in ("Qwen3", "qwen3", "QWEN3:latest", "registry.ollama.ai/library/qwen3", "Coder:7B", "b"):
            got = await scene.post("/api/chat", {**TURN, "model": name})
            assert got.status == 200 and lines(got.body)[0]["model"] == name, name
        for path, asked in ROUTES:
            got = await scene.post(path, {**asked, "model": "x:7b"})
            embeds = "embed" in path
            words = 'model "x:7b" not found, try pulling it first' if embeds else "model 'x:7b' not found"
            assert (got.status, got.json()["error"], got.json()["code"]) == (404, words, "model_not_found")


@pytest.mark.parametrize(
    ("facts", "path", "asked", "words"),
    [
        (ModelFacts(task="chat", capabilities=("chat",)), "/api/embed", INPUT, "embeddings"),
        (ModelFacts(task="chat", capabilities=("chat",)), "/api/chat", {**TURN, "think": True}, "thinking"),
        (ModelFacts(task="chat", capabilities=("chat",)), "/api/generate", {**PROMPT, "suffix": "x"}, "insert"),
        (ModelFacts(task="embeddings", capabilities=("embeddings",)), "/api/chat", TURN, "chat"),
        (ModelFacts(task="rerank", capabilities=("rerank",)), "/api/generate", PROMPT, "generate"),
    ],
)
async def test_what_a_model_cannot_costs_no_lease(facts: ModelFacts, path: str, asked: Any, words: str) -> None:
    async with stage(say({})) as scene:
        scene.directory.learn({"m": facts})
        got = await scene.post(path, asked)
        assert (got.status, got.json()["error"]) == (400, f'"m" does not support {words}')
        assert scene.leases.asked == 0 and got.json()["source"] == "corral"


async def test_the_operator_s_word_goes_before_the_file_s() -> None:
    models = (ModelSpec("m", capabilities=("chat", "reasoning")),)
    async with stage(stream(CHAT), models=models) as scene:
        scene.directory.learn({"m": ModelFacts(task="chat", capabilities=("chat",))})
        assert (await scene.post("/api/chat", {**TURN, "think": True})).status == 200


# --- bad input, bad days ---


@pytest.mark.parametrize(("path", "asked"), ROUTES)
async def test_a_wrong_body_costs_no_lease(path: str, asked: dict[str, Any]) -> None:
    wrong: list[Any] = [
        b"", b"[]", b"{", b"\xff", b'{"model": 1}', {**asked, "keep_alive": "soon"}, {**asked, "options": "hot"},
        {**asked, "options": {"temperature": "hot"}}, b'{"model": "m", "x": ' + b"[" * 90_000 + b"]" * 90_000 + b"}",
    ]  # fmt: skip
    if (path, asked) in STREAMS:
        wrong += [{**asked, "stream": "yes"}, {**asked, "format": "xml"}, {**asked, "think": "deeply"}]
        wrong += [{**asked, "top_logprobs": 99}]
    async with stage() as scene:
        for body in wrong:
            got = await scene.post(path, body)
            assert got.status == 400 and got.headers["content-type"] == "application/json", body
            assert set(got.json()) == {"error", "code", "source"} and got.json()["source"] == "corral", body
        assert scene.leases.asked == 0 and not scene.upstream.heard


@pytest.mark.parametrize(("path", "asked"), ROUTES)
async def test_options_that_mean_nothing_are_passed_over(
    path: str, asked: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with stage(say({})) as scene:
        await scene.post(path, {**asked, "options": {"mirostat": 2}, "whatever": [1]})
        assert len(scene.upstream.heard) == 1 and "mean nothing here: mirostat" in caplog.text


@pytest.mark.parametrize(("path", "asked"), ROUTES)
async def test_no_lease(path: str, asked: dict[str, Any]) -> None:
    async with stage() as scene:
        scene.leases.refuse_with = QueueFull("Too many wait.", retry_after_s=7)
        got = await scene.post(path, asked)
        assert (got.status, got.headers["retry-after"], got.json()["code"]) == (503, "7", "queue_full")


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ([], "ended in the middle"),
        ([b"0\r\n\r\n"], "ended before its answer did"),
        ([chunk(b'data: {"error":{"message":"out of memory"}}\n\n'), b"0\r\n\r\n"], "out of memory"),
        ([chunk(b"data: nonsense\n\n"), b"0\r\n\r\n"], "The engine's answer is no"),
    ],
)
async def test_a_raw_stream_that_breaks(rest: list[bytes], words: str) -> None:
    """It goes another way than those of all other routes."""
    async with llama(write(SSE_HEAD, chunk(NATIVE[0]), *rest, close=True)) as scene:
        got = await scene.post("/api/generate", {**PROMPT, "raw": True})
        assert got.status == 200 and got.complete
        told = CLIENTS["/api/generate"].answer(got.body, stream=True)
        assert told.text == "Grüß " and told.failure is not None
        assert words in told.failure.words and told.failure.source == "engine"
        assert len(lines(got.body)) == 2 and scene.at_rest()
