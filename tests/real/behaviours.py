"""What engines do: functions that `evidence` names. Each takes a ready engine and asserts what its option does."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import psutil

from tests.real.llama import Running

ASK = {"messages": [{"role": "user", "content": "who?"}], "max_tokens": 40, "temperature": 0}


async def chat(engine: Running, **more: Any) -> dict[str, Any]:
    """A chat answer; 200."""
    status, answer = await engine.post("/v1/chat/completions", {**ASK, **more})
    assert status == 200, answer
    return dict(answer)


async def message(engine: Running, **more: Any) -> dict[str, Any]:
    return dict((await chat(engine, **more))["choices"][0]["message"])


async def stops_after_three_tokens(engine: Running) -> None:
    _, answer = await engine.post("/completion", {"prompt": "who?"})
    assert answer["tokens_predicted"] == 3


async def answers_yes(engine: Running) -> None:
    assert (await message(engine))["content"].removesuffix("<|im_end|>") == "yes"


async def completes_with_a_number(engine: Running) -> None:
    """A default schema holds for /completion; chat has `response_format`, and b11434 refuses it beside a default."""
    _, answer = await engine.post("/completion", {"prompt": "how many?", "n_predict": 8})
    assert answer["content"].lstrip("-").strip()[:1].isdigit(), answer["content"]


async def prefers_a_slot_from_a_quarter_on(engine: Running) -> None:
    for _ in range(2):
        await chat(engine)
    assert any("> 0.250" in line for line in await engine.settled_log())


async def saves_its_slot(engine: Running) -> None:
    await chat(engine, id_slot=0)
    status, answer = await engine.post("/slots/0?action=save", {"filename": "kept.bin"})
    assert status == 200 and answer["n_saved"] > 0, answer
    folder = Path(str(engine.model.options["slot_save_path"])) / engine.model.name
    assert (folder / "kept.bin").stat().st_size > 0 and folder.stat().st_mode & 0o777 == 0o700


async def computes_the_same_prompt_again(engine: Running) -> None:
    for _ in range(2):
        timings = (await chat(engine))["timings"]
    assert timings["cache_n"] == 0 and timings["prompt_n"] > 8


async def sleeps_after_a_second(engine: Running) -> None:
    async with asyncio.timeout(10):
        while not (await engine.get("/props"))["is_sleeping"]:
            await asyncio.sleep(0.05)


async def answers_beyond_its_context(engine: Running) -> None:
    answer = await chat(engine, max_tokens=400)
    assert answer["usage"]["completion_tokens"] == 400


async def has_a_thread_on_the_first_cpu(engine: Running) -> None:
    await chat(engine)
    tasks = Path(f"/proc/{psutil.Process(engine.process.pid).pid}/task").iterdir()
    masks = [
        line.split()[1]
        for task in tasks
        for line in (task / "status").read_text().splitlines()
        if line.startswith("Cpus_allowed:")
    ]
    assert any(int(mask.replace(",", ""), 16) == 1 for mask in masks), masks


async def fills_the_template(engine: Running) -> None:
    _, answer = await engine.post("/apply-template", {"messages": ASK["messages"]})
    assert answer["prompt"].lower() == "kept|low|true|false"


async def puts_the_suffix_first(engine: Running) -> None:
    body = {"input_prefix": "before", "input_suffix": "after", "prompt": "", "n_predict": 1, "verbose": True}
    _, answer = await engine.post("/infill", body)
    prompt = answer["prompt"]
    assert prompt.index("<|fim_suffix|>") < prompt.index("<|fim_prefix|>"), prompt


async def shows_special_tokens(engine: Running) -> None:
    assert (await message(engine))["content"].endswith("<|im_end|>")


async def answers_a_last_word_of_its_own(engine: Running) -> None:
    said = [{"role": "user", "content": "who?"}, {"role": "assistant", "content": "I am"}]
    _, answer = await engine.post("/apply-template", {"messages": said})
    assert answer["prompt"] == "who?!"  # and not `who?!I am`


async def has_no_tools_without_jinja(engine: Running) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    status, answer = await engine.post("/v1/chat/completions", {**ASK, "tools": [tool]})
    assert status != 200 and "jinja" in json.dumps(answer)


async def ends_its_thinking_at_once(engine: Running) -> None:
    said = await message(engine, max_tokens=100)
    assert "see what to say" not in json.dumps(said)
    assert "Enough of that." in json.dumps(said), said


async def leaves_its_thinking_in_the_answer(engine: Running) -> None:
    said = await message(engine, max_tokens=100)
    assert "see what to say" in said["content"] and "reasoning_content" not in said, said


async def embeds(engine: Running) -> None:
    status, answer = await engine.post("/v1/embeddings", {"input": "hello", "model": "tiny"})
    assert status == 200
    assert abs(sum(value * value for value in answer["data"][0]["embedding"]) - 1) > 0.01  # not normalised


async def ranks(engine: Running) -> None:
    status, answer = await engine.post("/v1/rerank", {"query": "a", "documents": ["b", "c"]})
    assert status == 200 and len(answer["results"]) == 2


async def sees_a_picture_of_the_folder(engine: Running) -> None:
    folder = Path(str(engine.model.options["media_path"]))
    (folder / "red.png").write_bytes(picture())
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "file://red.png"}},
    ]
    _, answer = await engine.post("/v1/chat/completions", {**ASK, "messages": [{"role": "user", "content": content}]})
    assert "usage" in answer, answer
    data = base64.b64encode(picture()).decode()
    content[1] = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    _, same = await engine.post("/v1/chat/completions", {**ASK, "messages": [{"role": "user", "content": content}]})
    assert same["usage"]["prompt_tokens"] == answer["usage"]["prompt_tokens"]


async def has_two_adapters(engine: Running) -> None:
    assert [each["scale"] for each in await engine.get("/lora-adapters")] == [1.0, 0.5]


async def accepts_what_was_drafted(engine: Running) -> None:
    for _ in range(2):
        timings = (await chat(engine, max_tokens=120))["timings"]
    assert timings["draft_n"] >= timings["draft_n_accepted"] > 0, timings
    assert (await engine.get("/slots"))[0]["speculative"] is True
    counted = re.search(r"^llamacpp:spec_decode_num_accepted_tokens_total (\d+)", await engine.text("/metrics"), re.M)
    assert counted and int(counted[1]) >= timings["draft_n_accepted"]


async def shows_its_tags(engine: Running) -> None:
    assert sorted((await engine.get("/v1/models"))["data"][0]["tags"]) == ["blue", "red"]


def picture(size: int = 56) -> bytes:
    """A red square as PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\xff\0\0" * size for _ in range(size))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
