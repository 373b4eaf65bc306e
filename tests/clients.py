"""
Clients of every dialect, as strict as can be: what each sends, and what it makes of what comes back.

    client = CLIENTS["/api/chat"]
    told = client.stream(body)      # text, thoughts, calls, counts, and why it ended, or the failure that it ended with

Whatever breaks the rules of a dialect is a `Broken`: an end that is missing or told twice, a mark of success after an
error, an event out of order, an error in another dialect's shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests import messages

SOURCES: Final = ("corral", "engine")


class Broken(AssertionError):
    """An answer that its dialect does not know."""


@dataclass(frozen=True)
class Failure:
    """An error, in the words that the dialect has for it."""

    code: str
    source: str
    words: str


@dataclass
class Told:
    """What an answer says, in nobody's dialect. `calls` are names and arguments; `reason` as OpenAI has it."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    reason: str | None = None
    prompt: int | None = None
    completion: int | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Client:
    """One route. `stream` reads a whole body of events, `whole` a JSON body, `refused` an error's JSON body."""

    path: str
    asked: Callable[[str], dict[str, Any]]
    whole: Callable[[Any], Told]
    refused: Callable[[Any], Failure]
    stream: Callable[[bytes], Told] | None = None
    streams_unasked: bool = False

    def body(self, model: str, *, stream: bool, **fields: Any) -> dict[str, Any]:
        """A request that says hello."""
        asked = {"model": model, **self.asked("hello"), **fields}
        if self.stream is not None and (stream or self.streams_unasked):
            asked["stream"] = stream
        return asked

    def answer(self, body: bytes, *, stream: bool) -> Told:
        """What a 200 says."""
        try:
            if stream and self.stream is not None:
                return self.stream(body)
            return self.whole(json.loads(body))
        except Broken as error:
            raise Broken(f"{self.path}: {error}: {body[-600:]!r}") from None
        except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
            raise Broken(f"{self.path}: {error!r}: {body[-600:]!r}") from None

    def error(self, body: bytes) -> Failure:
        """What an answer that is no success says."""
        try:
            failure = self.refused(json.loads(body))
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(f"{self.path}: no error of its dialect ({error!r}): {body[:300]!r}") from None
        _hold(failure.words and failure.code and failure.source in SOURCES, f"an error that says nothing: {body!r}")
        return failure


def _hold(true: object, words: str) -> None:
    if not true:
        raise Broken(words)


# --- OpenAI ---


def _openai_error(value: Any) -> Failure:
    error = value["error"]
    _hold(value.keys() == {"error"} and isinstance(error["type"], str), "no error of OpenAI's")
    return Failure(error["code"], error["source"], error["message"])


def _data(body: bytes) -> list[Any]:
    """Payloads of an OpenAI stream; [DONE] is itself."""
    _hold(body.endswith(b"\n\n"), "the last event is not whole")
    lines = [line for line in body.decode().split("\n") if line and not line.startswith(":")]
    _hold(all(line.startswith("data: ") for line in lines), "a line that is no data")
    return ["[DONE]" if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def _openai_stream(read: Callable[[Told, Any], None]) -> Callable[[bytes], Told]:
    def stream(body: bytes) -> Told:
        told, payloads = Told(), _data(body)
        _hold(payloads, "an empty stream")
        *chunks, last = payloads
        _hold("[DONE]" not in chunks, "it goes on after [DONE]")
        if last != "[DONE]":
            _hold("error" in last, "neither [DONE] nor an error at the end")
            told.failure = _openai_error(last)
        for chunk in chunks:
            _hold("error" not in chunk, "it goes on after an error")
            read(told, chunk)
        _hold(told.failure or told.reason, "done, and nobody knows why")
        return told

    return stream


def _usage(told: Told, usage: Any) -> None:
    if usage:
        told.prompt, told.completion = usage["prompt_tokens"], usage["completion_tokens"]


def _chat_chunk(told: Told, chunk: Any) -> None:
    for choice in chunk["choices"]:
        _said(told, choice["delta"])
        told.reason = choice.get("finish_reason") or told.reason
    _usage(told, chunk.get("usage"))


def _said(told: Told, said: Any) -> None:
    told.text += said.get("content") or ""
    told.thoughts += said.get("reasoning_content") or ""
    for call in said.get("tool_calls") or ():
        place = call.get("index", len(told.calls))
        while len(told.calls) <= place:
            told.calls.append(("", ""))
        name, arguments = told.calls[place]
        function = call["function"]
        told.calls[place] = name + (function.get("name") or ""), arguments + (function.get("arguments") or "")


def _chat_whole(value: Any) -> Told:
    told, choice = Told(), value["choices"][0]
    _said(told, choice["message"])
    told.reason = choice["finish_reason"]
    _usage(told, value.get("usage"))
    return _parsed(told)


def _parsed(told: Told) -> Told:
    told.calls = [
        (name, json.loads(arguments) if told.failure is None else arguments) for name, arguments in told.calls
    ]
    return told


def _chat_stream(body: bytes) -> Told:
    return _parsed(_openai_stream(_chat_chunk)(body))


def _text_chunk(told: Told, chunk: Any) -> None:
    for choice in chunk["choices"]:
        told.text += choice["text"]
        told.reason = choice.get("finish_reason") or told.reason
    _usage(told, chunk.get("usage"))


def _text_whole(value: Any) -> Told:
    told = Told()
    _text_chunk(told, value)
    return told


# --- OpenAI's responses ---

_PIECES: Final = ("response.output_text.delta", "response.reasoning_text.delta")
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")


def _responses_stream(body: bytes) -> Told:
    found, pieces = _named(body), dict.fromkeys(_PIECES, "")
    _hold([each["sequence_number"] for each in found] == list(range(len(found))), "numbers out of order")
    _hold([each["type"] for each in found[:2]] == ["response.created", "response.in_progress"], "a wrong beginning")
    _hold([each["type"] in _ENDS for each in found] == [False] * (len(found) - 1) + [True], "not one end, at the end")
    for each in found:
        if each["type"] in pieces:
            pieces[each["type"]] += each["delta"]
    last = found[-1]
    _hold(last["type"] == f"response.{last['response']['status']}", "an end that is another than the response's")
    told = _responses_whole(last["response"], last.get("error"))
    _hold([told.text, told.thoughts] == list(pieces.values()), "the whole is not its pieces")
    done = {each["type"] for each in found if each["type"].endswith(".done")}
    _hold(told.failure is None or told.text == "" or "response.output_text.done" not in done, "done, and failed")
    return told


def _responses_whole(value: Any, error: Any = None) -> Told:
    told, status = Told(), value["status"]
    for item in value["output"]:
        parts = "".join(part["text"] for part in item.get("content") or ())
        if item["type"] == "message":
            told.text += parts
        elif item["type"] == "reasoning":
            told.thoughts += parts
        else:
            told.calls.append((item["name"], item["arguments"]))
    if status == "failed":
        told.failure = _openai_error({"error": error})
        _hold(value["error"]["message"] == told.failure.words, "two errors")
        return told
    _hold(error is None and value["error"] is None, "an error and no failure")
    cut = (value["incomplete_details"] or {}).get("reason")
    _hold((status, cut) in (("completed", None), ("incomplete", "max_output_tokens")), "a wrong end")
    told.reason = "length" if cut else "tool_calls" if told.calls else "stop"
    if value["usage"]:
        told.prompt, told.completion = value["usage"]["input_tokens"], value["usage"]["output_tokens"]
    return _parsed(told)


def _named(body: bytes) -> list[Any]:
    """Server-sent events that name their type twice; comments keep a stream alive."""
    _hold(body.endswith(b"\n\n"), "the last event is not whole")
    kept = b"".join(block + b"\n\n" for block in body.split(b"\n\n")[:-1] if not block.startswith(b":"))
    return messages.events(kept)


# --- Anthropic ---

_STOPS: Final = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def _anthropic_error(value: Any) -> Failure:
    error = value["error"]
    _hold(
        value["type"] == "error" and value["request_id"] and isinstance(error["type"], str), "no error of Anthropic's"
    )
    return Failure(error["code"], error["source"], error["message"])


def _messages_stream(body: bytes) -> Told:
    found = _named(body)
    kinds = [each["type"] for each in found]
    if "error" not in kinds:
        return _messages_whole(messages.message(body))
    _hold(kinds.index("error") == len(kinds) - 1, "it goes on after an error")
    _hold(not {"message_stop", "message_delta"} & set(kinds), "an end of success and an error")
    told = Told(failure=_anthropic_error(found[-1]))
    for each in found:
        if each["type"] == "content_block_delta":
            told.text += each["delta"].get("text", "")
            told.thoughts += each["delta"].get("thinking", "")
    return told


def _messages_whole(value: Any) -> Told:
    told = Told(reason=_STOPS[value["stop_reason"]])
    for block in value["content"]:
        if block["type"] == "text":
            told.text += block["text"]
        elif block["type"] == "thinking":
            told.thoughts += block["thinking"]
        else:
            told.calls.append((block["name"], block["input"]))
    usage = value["usage"]
    told.prompt = usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
    told.completion = usage["output_tokens"]
    return told


# --- Ollama ---


def _ollama_error(value: Any) -> Failure:
    _hold(isinstance(value["error"], str) and value.keys() == {"error", "code", "source"}, "no error of Ollama's")
    return Failure(value["code"], value["source"], value["error"])


def _lines_stream(body: bytes) -> Told:
    _hold(body.endswith(b"\n"), "the last line is not whole")
    *lines, last = [json.loads(line) for line in body.splitlines()]
    _hold(not any("error" in each or each["done"] for each in lines), "it goes on after its end")
    if "error" in last:
        return _joined(lines, Told(failure=_ollama_error(last)))
    _hold(last["done"] is True, "neither done nor an error at the end")
    return _joined([*lines, last], _lines_end(last))


def _joined(lines: Iterable[Any], told: Told) -> Told:
    for each in lines:
        said = each.get("message", each)
        told.text += said["content"] if "message" in each else each["response"]
        told.thoughts += said.get("thinking", "")
        told.calls += [(call["function"]["name"], call["function"]["arguments"]) for call in said.get("tool_calls", ())]
    if told.calls and told.reason == "stop":
        told.reason = "tool_calls"  # Ollama has no word of its own for it
    return told


def _lines_end(last: Any) -> Told:
    return Told(reason=last["done_reason"], prompt=last.get("prompt_eval_count"), completion=last.get("eval_count"))


def _lines_whole(value: Any) -> Told:
    _hold(value["done"] is True, "not done")
    return _joined([value], _lines_end(value))


# --- no streams ---


def _count_whole(value: Any) -> Told:
    return Told(prompt=int(value["input_tokens"]))


def _vectors(name: str) -> Callable[[Any], Told]:
    def whole(value: Any) -> Told:
        _hold(value[name], "no vector")
        return Told(prompt=value.get("prompt_eval_count"))

    return whole


def _turn(words: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": words}]}


def _message(words: str) -> dict[str, Any]:
    return {"max_tokens": 1000, **_turn(words)}


def _prompt(words: str) -> dict[str, Any]:
    return {"prompt": words}


def _input(words: str) -> dict[str, Any]:
    return {"input": words}


_ALL: Final = (
    Client("/v1/chat/completions", _turn, _chat_whole, _openai_error, _chat_stream),
    Client("/v1/completions", _prompt, _text_whole, _openai_error, _openai_stream(_text_chunk)),
    Client("/v1/responses", _input, _responses_whole, _openai_error, _responses_stream),
    Client("/v1/messages", _message, _messages_whole, _anthropic_error, _messages_stream),
    Client("/api/chat", _turn, _lines_whole, _ollama_error, _lines_stream, streams_unasked=True),
    Client("/api/generate", _prompt, _lines_whole, _ollama_error, _lines_stream, streams_unasked=True),
    Client("/v1/messages/count_tokens", _turn, _count_whole, _anthropic_error),
    Client("/v1/responses/input_tokens", _input, _count_whole, _openai_error),
    Client("/api/embed", _input, _vectors("embeddings"), _ollama_error),
    Client("/api/embeddings", _prompt, _vectors("embedding"), _ollama_error),
)
CLIENTS: Final = {client.path: client for client in _ALL}
CHATS: Final = tuple(client for client in _ALL if client.stream is not None)
