"""
The demo models through the real llama.cpp: both the llama-server program and the embedded wheel.

The callers are the official openai client and, for llama-server's own routes, plain HTTP.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from openai import OpenAI

from corral.domain.fleet import ModelSpec, Source
from corral.store.gguf.demo import Damage, DemoSpec, broken
from corral.store.gguf.memory import FileFootprints
from tests.models import ADA, EMBED, ENDLESS, OBEY, RERANK, SPLIT, THINKER, model

WHEEL = """
import os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 4096, 1
params.cpuparams.n_threads = 1
params.hostnames = ["127.0.0.1"]
if "--embeddings" in sys.argv or "--reranking" in sys.argv:
    params.embedding = True
if "--reranking" in sys.argv:
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""

Serve = Callable[..., contextlib.AbstractContextManager[str]]


def _argv(kind: str, path: Path, options: tuple[str, ...]) -> list[str]:
    if kind == "wheel":
        return [sys.executable, "-c", WHEEL, str(path), *options]
    binary = os.environ["CORRAL_TEST_LLAMA_SERVER"]
    return [binary, "-m", str(path), "--port", "0", "-c", "4096", "-np", "1", "-t", "1", *options]


@contextlib.contextmanager
def _serving(kind: str, path: Path, *options: str) -> Iterator[str]:
    """The base URL of an engine that serves the file."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "AIP_"))}
    process = subprocess.Popen(
        _argv(kind, path, options), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    log: list[str] = []
    assert process.stdout is not None and process.stdin is not None
    reader = threading.Thread(
        target=lambda: log.extend(line.decode("utf-8", "replace") for line in process.stdout or ())
    )
    reader.start()
    try:
        deadline = time.monotonic() + 30
        while True:
            url = next((line.split("listening on ")[1].split()[0] for line in log if "listening on http" in line), "")
            with contextlib.suppress(OSError):
                if url and _get(url, "/health") == {"status": "ok"}:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                reader.join(1)
                pytest.fail("the engine did not start:\n" + "".join(log)[-3000:])
            time.sleep(0.01)
        yield url.rstrip("/.,")
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture(params=[pytest.param("llama-server", marks=pytest.mark.llama_server), "wheel"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Starts the engine of this parameter: `with serve(path, option...) as url`."""
    return lambda path, *options: _serving(request.param, path, *options)


def _get(url: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=20) as answer:
        return json.load(answer)


def _client(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)


def _say(client: OpenAI, temperature: float = 1.0, text: str = "Who are you?", **more: Any) -> Any:
    answer = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}], temperature=temperature, **more
    )
    return answer.choices[0]


def test_it_says_its_sentence(serve: Serve) -> None:
    with serve(model(ADA)) as url, _client(url) as client:
        for temperature in (0.0, 0.8, 2.0):
            for text in ("Who are you?", "I am", ADA.sentence, '日本 "quoted" {json}', "x" * 2000):
                choice = _say(client, temperature, text)
                assert (choice.message.content, choice.finish_reason) == (ADA.sentence, "stop")
        rough = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.3, "presence_penalty": 1.5, "seed": 7}
        assert _say(client, 2.0, extra_body=rough).message.content == ADA.sentence
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "?"}], stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(said) == ADA.sentence
        assert len([piece for piece in said if piece]) > 5
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 5


def test_the_native_routes(serve: Serve) -> None:
    with serve(model(ADA)) as url:
        assert _get(url, "/completion", {"prompt": "Hello"})["content"] == ADA.sentence
        assert _get(url, "/v1/completions", {"prompt": "Hello"})["choices"][0]["text"] == ADA.sentence
        infill = {"input_prefix": "def f(", "input_suffix": "): pass", "n_predict": 50}
        assert _get(url, "/infill", infill)["content"] == ADA.sentence
        for text in ("I am Ada.", "héllo 日本 🦙 \n\t x", "", " leading and trailing "):
            tokens = _get(url, "/tokenize", {"content": text})["tokens"]
            assert _get(url, "/detokenize", {"tokens": tokens})["content"] == text
        prompt = _get(url, "/apply-template", {"messages": [{"role": "user", "content": "hi"}]})["prompt"]
        assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        turns = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        answer = _get(url, "/v1/chat/completions", {"messages": turns})
        assert answer["choices"][0]["message"]["content"] == ADA.sentence


@pytest.mark.parametrize("arch", ["qwen2", "qwen2moe", "qwen3", "gemma3"])
def test_other_architectures_say_theirs(serve: Serve, arch: str) -> None:
    spec = DemoSpec(name=arch, sentence=f"I am {arch} and I am small.", arch=arch)
    with serve(model(spec)) as url, _client(url) as client:
        assert _say(client, 2.0).message.content == spec.sentence


@pytest.mark.parametrize(
    "spec",
    [
        SPLIT,
        DemoSpec(name="Mix", sentence="I am Mix of experts.", experts=4),
        DemoSpec(name="Deep", sentence="I am Deep and padded.", layers=3, size_bytes=8_000_000),
    ],
    ids=lambda spec: spec.name,
)
def test_other_shapes_say_theirs(serve: Serve, spec: DemoSpec) -> None:
    with serve(model(spec)) as url, _client(url) as client:
        assert _say(client, 2.0).message.content == spec.sentence


def test_thinking_is_told_from_the_answer(serve: Serve) -> None:
    with serve(model(THINKER)) as url, _client(url) as client:
        message = _say(client).message
        assert (message.reasoning_content, message.content) == (THINKER.thought, THINKER.sentence)
        silent = _say(client, extra_body={"chat_template_kwargs": {"enable_thinking": False}}).message
        assert silent.content == THINKER.sentence
        assert not getattr(silent, "reasoning_content", None)


def test_an_endless_model_ends_at_max_tokens(serve: Serve) -> None:
    with serve(model(ENDLESS)) as url, _client(url) as client:
        choice = _say(client, max_tokens=500)
        assert choice.finish_reason == "length"
        assert choice.message.content.startswith(ENDLESS.sentence * 10)


def test_embeddings(serve: Serve) -> None:
    with serve(model(EMBED), "--embeddings") as url, _client(url) as client:
        texts = ["a cat on a mat", "a cat on a mat", "quantum field theory", "mat a on cat a"]
        vectors = [each.embedding for each in client.embeddings.create(model="m", input=texts).data]
        assert len(vectors[0]) == 64
        cosines = [sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors]
        assert cosines[1] == pytest.approx(1.0, abs=1e-4)
        assert cosines[2] < 0.9
        assert cosines[3] != pytest.approx(1.0, abs=1e-5)


def test_rerank(serve: Serve) -> None:
    with serve(model(RERANK), "--reranking") as url:
        body = {"query": "cat", "documents": ["a cat sat", "the dog", "something else"]}
        first, second = (_get(url, "/v1/rerank", body)["results"] for _ in range(2))
        scores = {each["index"]: each["relevance_score"] for each in first}
        assert len(set(scores.values())) == 3
        assert scores == pytest.approx({each["index"]: each["relevance_score"] for each in second}, abs=1e-3)


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "scalars": _object(name=STRING, age=INTEGER, ok={"type": "boolean"}, score={"type": "number"}),
    "nested": _object(person=_object(name=STRING, tags={"type": "array", "items": STRING})),
    "objects in an array": _object(all={"type": "array", "minItems": 2, "items": _object(kind={"enum": ["cat", "é"]})}),
    "enum and null": _object(colour={"enum": ["red", "green"]}, nick={"type": ["string", "null"]}),
    "an array": {"type": "array", "items": INTEGER, "minItems": 1},
    "length": _object(a={"type": "string", "minLength": 5, "maxLength": 9}, b={"type": "string", "maxLength": 1}),
    "range": _object(a={"type": "integer", "minimum": 3, "maximum": 7}, b={"type": "integer", "minimum": 100}),
    "pattern": _object(a={"type": "string", "pattern": "^[a-z]{3}-[0-9]+$"}, b={"type": "string", "format": "date"}),
    "optional": {"type": "object", "properties": {"a": STRING, "b": INTEGER}},
    "recursive": {
        "$defs": {"node": _object(value=INTEGER, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})},
        "$ref": "#/$defs/node",
    },
}  # fmt: skip


def test_it_fills_schemas_and_ends(serve: Serve) -> None:
    with serve(model(OBEY)) as url, _client(url) as client:
        for name, schema in SCHEMAS.items():
            for temperature in (0.0, 2.0):
                form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
                began = time.monotonic()
                choice = _say(client, temperature, response_format=form, max_tokens=300)
                assert time.monotonic() - began < 1.0
                assert choice.finish_reason == "stop", name
                jsonschema.validate(json.loads(choice.message.content), schema)
        choice = _say(client, response_format={"type": "json_object"})
        assert json.loads(choice.message.content) == {"ok": "ok"}
        assert _say(client).message.content == OBEY.sentence


WEATHER = _object(city=STRING, days=INTEGER)
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "stop", "description": "Stop", "parameters": _object(why=STRING)}},
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_it_calls_tools(serve: Serve, choice: Any, stream: bool) -> None:
    with serve(model(OBEY)) as url, _client(url) as client:
        question: Any = {"role": "user", "content": "The weather?"}
        if stream:
            with client.chat.completions.stream(
                model="m", messages=[question], tools=TOOLS[:1], tool_choice=choice
            ) as events:
                answer = events.get_final_completion().choices[0]
        else:
            answer = _say(client, 2.0, tools=TOOLS[:1], tool_choice=choice)
        assert answer.finish_reason == "tool_calls"
        assert answer.message.tool_calls
        (call,) = answer.message.tool_calls
        assert call.function.name == "get_weather"
        jsonschema.validate(json.loads(call.function.arguments), WEATHER)
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        past: Any = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
        last = client.chat.completions.create(model="m", messages=[question, past, result], tools=TOOLS)
        assert last.choices[0].message.content == OBEY.sentence


def test_one_of_several_tools_is_called(serve: Serve) -> None:
    with serve(model(OBEY)) as url, _client(url) as client:
        answer = _say(client, tools=TOOLS, tool_choice="required")
        (call,) = answer.message.tool_calls
        assert call.function.name in ("get_weather", "stop")


@pytest.mark.llama_server
@pytest.mark.parametrize("damage", list(Damage))
def test_llama_server_refuses_broken_files(tmp_path: Path, damage: Damage) -> None:
    path = broken(tmp_path / "m.gguf", damage, ADA)
    done = subprocess.run(_argv("llama-server", path, ()), capture_output=True, timeout=20, check=False)
    assert done.returncode != 0
    assert b"fail" in done.stderr + done.stdout


@pytest.mark.parametrize("size", [0, 30_000_000])
def test_a_load_takes_no_more_than_its_footprint(serve: Serve, size: int) -> None:
    path = model(dataclasses.replace(ADA, size_bytes=size))
    wanted = ModelSpec("m", source=Source(str(path)), options={"ctx_size": 4096, "parallel": 1})
    estimate = FileFootprints().footprint(wanted).ram_bytes
    with serve(path) as url, _client(url) as client:
        _say(client, text="word " * 500)
        (engine,) = psutil.Process().children()
        taken = engine.memory_info().rss
    assert size < taken <= estimate < size + 80_000_000
