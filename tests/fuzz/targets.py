"""
What is fuzzed, and what must hold for any bytes: one function a target, which fails by an exception.

    heads    a head that is known again by its bytes is one that would have been accepted, with the same meaning
    chunks   the strict decoder and llhttp agree, however the bytes are cut
    events   of a stream only whole events pass, and what is left over is less than one
    usage    counting tokens never fails, whatever an engine says
    relay    client and engine send anything: answers are well-formed, each engine request is one request with the
             engine's own key, nobody's lease is left
    anthropic    a body of /v1/messages is refused in words or can be sent on, and whatever the engine says to it is a
             proper message, however the bytes are cut
    responses    the same of /v1/responses; a chat that is mended once needs it no more
    ollama   any body is refused or becomes JSON for an engine; whatever that answers, clients get whole lines of JSON
             that say the same however it is cut
    yaml, toml   any text is a config or a ConfigError that names the file
    gguf     any file is a header or BadGguf, however small the window through which it is read; never large, and
             what is told of it are words and JSON
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from corral.cli.models.inspected import lines
from corral.config.files import parse
from corral.config.load import load_document
from corral.config.problems import ConfigErrors
from corral.domain.errors import BadGguf
from corral.gateway.usage import Watch
from corral.kit.chunked import AnswerChunks, BadChunk, ChunkDecoder
from corral.kit.http_heads import (
    END_OF_HEAD,
    BadHead,
    RequestHead,
    ResponseHead,
    SameHead,
    parse_request_head,
    parse_response_head,
)
from corral.kit.sse import payloads, take_whole, whole_events
from corral.store.gguf.header import Header
from corral.store.gguf.reader import read_from, read_header
from corral.store.inspect.describing import described
from tests.fuzz.anthropic import talk as speak
from tests.fuzz.ollama import talk as ask_all
from tests.fuzz.responses import talk as respond
from tests.unit.config.conftest import Rules

CUT: Final = b"\xff\xfe"
"""Where the bytes of an input are cut into pieces: a fuzzer finds it at once, and no text format has it."""
HEADER_LIMIT: Final = 100
Head = TypeVar("Head", RequestHead, ResponseHead)


def pieces(data: bytes) -> list[bytes]:
    """The input as it arrives."""
    return data.split(CUT)


def heads(data: bytes) -> None:
    """The first piece is a head, the second what the same peer sends next."""
    first, _, after = data.partition(CUT)
    first = first[: first.find(END_OF_HEAD) + len(END_OF_HEAD)]  # whoever reads heads cuts there
    _known_again(first, after, lambda block: parse_request_head(block, count_limit=HEADER_LIMIT))
    _known_again(first, after, parse_response_head)


def _known_again(first: bytes, after: bytes, parse_head: Callable[[bytes], Head]) -> None:
    try:
        same = SameHead(first, parse_head(first))
    except BadHead:
        return
    end = same.end(after)
    if end:
        again = parse_head(after[:end])  # a BadHead here would be a way around the parser
        assert after[:end].endswith(END_OF_HEAD)
        assert again.length == same.length
        old = [(name, value) for name, value in same.head.headers if name != b"content-length"]
        assert old == [(name, value) for name, value in again.headers if name != b"content-length"]
        assert (again.chunked, again.keep_alive) == (same.head.chunked, same.head.keep_alive)


def chunks(data: bytes) -> None:
    """In pieces and at once, by both decoders: what the strict one takes, llhttp takes in the same sense."""
    whole = data.replace(CUT, b"")
    at_once, rest = _decode(ChunkDecoder(), [whole])
    in_pieces, _ = _decode(ChunkDecoder(), pieces(data))
    assert at_once == in_pieces
    if at_once is not None:
        by_llhttp, _ = _decode(AnswerChunks(), [whole[: len(whole) - len(rest)]])
        assert by_llhttp == at_once


def _decode(decoder: ChunkDecoder | AnswerChunks, parts: list[bytes]) -> tuple[bytes | None, bytes]:
    """The body, None where there is none; and what follows it."""
    body, rest = b"", b""
    try:
        for part in parts:
            if decoder.done:
                rest += part
            else:
                body += decoder.feed(part)
                rest = decoder.rest if isinstance(decoder, ChunkDecoder) else b""
    except BadChunk:
        return None, b""
    return (body, rest) if decoder.done else (None, b"")


def events(data: bytes) -> None:
    """As the relay does it: hold back what is not whole."""
    held, passed = bytearray(), b""
    for part in pieces(data):
        whole = bytes(held) + part
        whole = whole[: whole_events(whole)]
        taken = take_whole(held, part)
        assert taken == whole  # what is looked at only where it is new is looked at enough
        assert not taken or taken.endswith((b"\n\n", b"\n\r\n"))
        passed += taken
        assert b"\n\n" not in held
        assert b"\r\n\r\n" not in held
    assert passed + held == data.replace(CUT, b"")
    for payload in payloads(passed):
        assert b"\n" not in payload


def usage(data: bytes) -> None:
    """As a stream, and as one body."""
    stream, body = Watch(), Watch()
    for part in pieces(data):
        stream.saw_first_token(part)
        stream.piece(part)
    stream.finish()
    body.body(pieces(data))
    for watch in (stream, body):
        for count in (watch.prompt_tokens, watch.cached_tokens, watch.completion_tokens):
            assert count is None or isinstance(count, int)


def config(data: bytes, file: str) -> None:
    """The loader of one format."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    engines = {"llamacpp": Rules(), "other": Rules()}
    refused: ConfigErrors | None = None
    try:
        document = parse(text, file=file)
        load_document(document, engines=engines, env={"HOME": "/h", "A": "5"}, command_line={}, cwd="/w")
    except ConfigErrors as error:
        refused = error
    if refused is not None:
        assert refused.sentence()
        assert all(each.file == file for each in refused.problems if each.file)


def yaml(data: bytes) -> None:
    """A YAML file."""
    config(data, "c.yaml")


def toml(data: bytes) -> None:
    """A TOML file."""
    config(data, "c.toml")


def gguf(data: bytes) -> None:
    """A model file."""
    with _file(data) as path:
        whole = _header(lambda: read_header(path))
        small = _header(lambda: read_from(_Bytes(data), path.name, most_read=32))
    assert repr(whole) == repr(small)  # not ==, for which a NaN is another
    if isinstance(whole, Header):
        assert whole.tensor_bytes <= len(data)
        with contextlib.suppress(BadGguf):
            found = described(whole, whole.tensors, files=[path.name], file_bytes=len(data))
            json.dumps(dataclasses.asdict(found), allow_nan=False)
            assert all(name and text for name, text in lines(found))


def _header(read: Callable[[], Header]) -> Header | str:
    try:
        return read()
    except BadGguf as error:
        return error.sentence()


class _Bytes:
    """As a server gives them: who has read on never comes back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.at = data, len(data), 0

    def read(self, at: int, count: int) -> bytes:
        assert self.at <= at <= at + count <= self.size
        self.at = at + count
        return self.data[at : at + count]


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[Path]:
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.NamedTemporaryFile(suffix=".gguf", dir=folder) as file:
        file.write(data)
        file.flush()
        yield Path(file.name)


def relay(data: bytes) -> None:
    """Late: it builds a whole gateway."""
    from tests.fuzz.wires import talk

    talk(pieces(data))


def anthropic(data: bytes) -> None:
    """The first piece is a request, the others what an engine says."""
    body, *said = pieces(data)
    speak(body, said)


def ollama(data: bytes) -> None:
    """The same for all of Ollama's routes."""
    body, *said = pieces(data)
    ask_all(body, said)


def responses(data: bytes) -> None:
    """The same for /v1/responses."""
    body, *said = pieces(data)
    respond(body, said)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (heads, chunks, events, usage, relay, anthropic, responses, ollama, yaml, toml, gguf)
}
