"""What a client of Anthropic's puts together from a stream, holding it to every rule of the order of its events."""

from __future__ import annotations

import json
from typing import Any


def events(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream; each names its type twice."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        fields = json.loads(data.removeprefix("data: "))
        assert name == f"event: {fields['type']}"
        found.append(fields)
    return found


def message(body: bytes) -> dict[str, Any]:
    """The message that a client puts together from a stream, which must keep all rules of the order."""
    found = [each for each in events(body) if each["type"] != "ping"]
    assert found[0]["type"] == "message_start" and found[-1]["type"] == "message_stop"
    made: dict[str, Any] = found[0]["message"]
    open_block: dict[str, Any] | None = None
    for each in found[1:-2]:
        assert each["index"] == len(made["content"]) - (open_block is not None)
        if each["type"] == "content_block_start":
            assert open_block is None
            open_block = dict(each["content_block"], text_of_input="")
            made["content"].append(open_block)
            continue
        assert open_block is not None
        if each["type"] == "content_block_stop":
            text = open_block.pop("text_of_input")
            if text:
                open_block["input"] = _read(text)
            open_block = None
            continue
        delta = each["delta"]
        assert (each["type"] == "content_block_delta" and open_block["type"] != "tool_use") or "partial_json" in delta
        for name in ("text", "thinking", "signature"):
            if name in delta:
                open_block[name] += delta[name]
        open_block["text_of_input"] += delta.get("partial_json", "")
    assert open_block is None and found[-2]["type"] == "message_delta"
    made.update(found[-2]["delta"])
    made["usage"].update(found[-2]["usage"])
    return made


def _read(text: str) -> Any:
    """What a model writes as arguments need not be JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text
