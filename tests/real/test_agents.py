"""
What agents send, as they sent it (texts cut short), to the real llama.cpp with a chat template of the strict kind.

`tests.compat.apps` is where the requests come from: the second of a conversation, which brings the result of a tool.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

from corral.store.gguf.demo.templates import chat_template
from tests.corrals import corral, gguf
from tests.models import OBEY, model
from tests.real.engines import ENGINES

RECORDED: Final = Path(__file__).parents[1] / "recorded" / "agents"
STRICT: Final = (
    "{%- for message in messages %}{%- if message.role == 'system' and not loop.first %}"
    "{{- raise_exception('System message must be at the beginning.') }}{%- endif %}{%- endfor %}\n"
)
"""As many models' own templates have it."""


def recorded(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return body


def events(body: str, name: str) -> list[dict[str, Any]]:
    blocks = [block.split("\n", 1) for block in body.split("\n\n") if block.startswith("event: ")]
    return [json.loads(data.removeprefix("data: ")) for kind, data in blocks if kind == f"event: {name}"]


@pytest.mark.parametrize("engine", ENGINES)
async def test_agents_with_a_template_that_takes_one_system_message(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = os.environ["CORRAL_TEST_LLAMA_SERVER"] if engine == "binary" else ""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    template = tmp_path / "strict.jinja"
    template.write_text(STRICT + chat_template(tools=True, thinking=False))
    options = {"chat_template_file": str(template), "ctx_size": 32768, "parallel": 1}
    async with corral({"willow": gguf(model(OBEY), binary=binary, slots=1, options=options)}) as running:
        rules = [{"role": role, "content": role} for role in ("user", "system")]
        plain = await running.http.post("/v1/chat/completions", json={"model": "willow", "messages": rules})
        assert plain.status_code >= 400 and "must be at the beginning" in plain.text, "the template is not strict"

        headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "mid-conversation-system-2026-04-07"}
        asked = recorded("claude_code")
        assert [each["role"] for each in asked["messages"]] == ["user", "system", "assistant", "user"]
        answer = await running.http.post("/v1/messages?beta=true", json=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        said = [each["delta"]["text"] for each in events(answer.text, "content_block_delta")]
        assert "".join(said) == OBEY.sentence and answer.text.count("event: message_stop") == 1
        counted = await running.http.post("/v1/messages/count_tokens", json=asked, headers=headers)
        assert counted.status_code == 200 and counted.json()["input_tokens"] > 1000
        first = {**asked, "messages": asked["messages"][:2]}
        (call,) = events((await running.http.post("/v1/messages", json=first)).text, "content_block_start")
        assert call["content_block"]["type"] == "tool_use"

        asked = recorded("codex")
        answer = await running.http.post("/v1/responses", json=asked)
        assert answer.status_code == 200, answer.text
        (done,) = events(answer.text, "response.completed")
        assert done["response"]["output"][0]["content"][0]["text"] == OBEY.sentence
        only = [tool for tool in asked["tools"] if tool["name"] == "mcp__tiny"]
        answer = await running.http.post("/v1/responses", json={**asked, "input": asked["input"][:4], "tools": only})
        (done,) = events(answer.text, "response.completed")
        (made,) = done["response"]["output"]
        assert (made["namespace"], made["name"], made["arguments"]) == ("mcp__tiny", "the_weather", '{"city":"Rome"}')
