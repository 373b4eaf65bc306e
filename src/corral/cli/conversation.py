"""A chat with one Model: the messages so far, how to sample, and the pieces of an answer as they come."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from corral.cli import connect
from corral.domain.errors import BadRequest, EngineFailed
from corral.domain.names import near_names

if TYPE_CHECKING:
    from http.client import HTTPResponse

LONGEST_S: Final = 2 * 3600.0  # between two pieces; the server's own timeouts are shorter
PARAMETERS: Final[dict[str, type]] = {
    "temperature": float, "top_p": float, "min_p": float, "top_k": int, "typical_p": float,
    "repeat_penalty": float, "presence_penalty": float, "frequency_penalty": float,
    "max_tokens": int, "seed": int,
}  # fmt: skip


class Piece(NamedTuple):
    """A piece of an answer; `thinking` is what the Model says to itself."""

    text: str
    thinking: bool = False


@dataclass
class Conversation:
    """What is sent with each request: the Model, a system message, the messages so far, parameters."""

    model: str
    system: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def set(self, name: str, text: str) -> None:
        """Set a sampling parameter; an empty text gives it back to the Model. Raises BadRequest."""
        if name not in PARAMETERS:
            near = near_names(name, PARAMETERS, most=1)
            known = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(PARAMETERS)}."
            raise BadRequest(f"There is no parameter {name!r}.", hint=known)
        if not text:
            self.parameters.pop(name, None)
            return
        try:
            self.parameters[name] = PARAMETERS[name](text)
        except ValueError:
            kind = "a whole number" if PARAMETERS[name] is int else "a number"
            raise BadRequest(f"{name} must be {kind}, not {text!r}.") from None

    def body(self) -> dict[str, Any]:
        """The request for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return {"model": self.model, "messages": [*system, *self.messages], "stream": True, **self.parameters}

    def ask(self, corral: connect.Corral, text: str) -> Generator[Piece, None, None]:
        """
        Say something and yield the answer as it comes. What came is kept, also when the reader stops early (closing
        the iterator ends the request); a question without any answer is forgotten.

        Raises Answered, NotRunning, EngineFailed.
        """
        self.messages.append({"role": "user", "content": text})
        said: list[str] = []
        try:
            with closing(_stream(corral, self.body())) as pieces:
                for piece in pieces:
                    if not piece.thinking:
                        said.append(piece.text)
                    yield piece
        finally:
            if said:
                self.messages.append({"role": "assistant", "content": "".join(said)})
            else:
                self.messages.pop()


def _stream(corral: connect.Corral, body: dict[str, Any]) -> Generator[Piece, None, None]:
    with corral.open("POST", "/v1/chat/completions", body, timeout_s=LONGEST_S) as response:
        done = False
        for data in _events(response):
            if data == b"[DONE]":
                done = True
                break
            yield from _pieces(data)
        if not done:
            raise EngineFailed("The answer broke off.")


def _events(response: HTTPResponse) -> Iterator[bytes]:
    from http.client import HTTPException

    try:
        while line := response.readline():
            if line.startswith(b"data:"):
                yield line[5:].strip()
    except (HTTPException, OSError) as error:
        raise EngineFailed(f"The answer broke off: {error}.") from None


def _pieces(data: bytes) -> Iterator[Piece]:
    try:
        chunk = json.loads(data)
    except ValueError:
        return
    if not isinstance(chunk, dict):
        return
    error = chunk.get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise EngineFailed(f"The answer broke off: {message}")
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            yield Piece(delta["reasoning_content"], thinking=True)
        if delta.get("content"):
            yield Piece(delta["content"])
