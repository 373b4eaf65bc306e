"""
`POST /api/pull`: a model comes into the store, and its client sees how far it is.

What is here is pulled already, whoever asks. To fetch anything takes the scope `admin`, because it takes disk space and
asks other servers; and where it would not be served afterwards by its name, it is refused before a byte has come: to
clients of Ollama a success means that they can run it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from corral.contracts.pulling import Coming, Pulls, PullWanted
from corral.dialects.ollama.errors import NoManifest, Ollama
from corral.dialects.ollama.names import plain_http, reference_of, spellings
from corral.domain.errors import BadRequest, CorralError, NotOffered, NotThere, StoreFailed, UnknownModel
from corral.domain.fleet import ModelSpec
from corral.domain.serving import Scope
from corral.gateway.directory import ModelDirectory
from corral.gateway.handling import answer, missing_scope, read_body

_BEGIN: Final = "pulling manifest"
_END: Final = ("verifying sha256 digest", "writing manifest", "success")
_SUCCESS: Final = "success"
_ID_CHARS: Final = 12


class _Pull(msgspec.Struct):
    """`name` is what older clients send."""

    model: str | None = None
    name: str | None = None
    insecure: bool | None = None
    stream: bool | None = None


class PullRoute:
    """The handler and whom it asks. Without `pulls` nothing can be fetched."""

    def __init__(self, directory: ModelDirectory, pulls: Pulls | None) -> None:
        self._directory = directory
        self._pulls = pulls

    async def pull(self, request: Request) -> Response:
        """A stream of status lines, or one answer at the end."""
        body = await read_body(request, _Pull)
        name = body.model or body.name
        if not name:
            raise BadRequest("model is required.")
        wanted = self._wanted(name, bool(body.insecure), missing_scope(request, Scope.ADMIN))
        lines = self._lines(name, wanted)
        if body.stream is False:
            async with contextlib.aclosing(lines):
                async for _ in lines:
                    pass
            return answer({"status": _SUCCESS})
        return _Stream(lines, str(request.scope["state"]["request_id"]))

    def _wanted(self, name: str, insecure: bool, unfit: CorralError | None) -> PullWanted | None:
        """What has to be fetched; None where nothing has to be, or may be. Raises what refuses it."""
        model = self._named(name)
        wanted = PullWanted(None, model, insecure or plain_http(name))
        if model is None or not model.source.reference:
            try:
                wanted = PullWanted(reference_of(name), model, wanted.insecure)
            except BadRequest:
                if model is None:
                    raise
                return None
        refusal = unfit or self._refusal(wanted)
        if refusal is None:
            return wanted
        if model is not None and not model.source.wanting:
            return None
        raise refusal

    def _refusal(self, wanted: PullWanted) -> CorralError | None:
        if self._pulls is None:
            return NotOffered("This gateway has no store that a model could be fetched into.")
        return self._pulls.refusal(wanted)

    def _named(self, name: str) -> ModelSpec | None:
        try:
            return self._directory.meant(spellings(name))[1]
        except UnknownModel:
            return None

    async def _lines(self, name: str, wanted: PullWanted | None) -> AsyncGenerator[bytes, None]:
        """The status lines, down to the last. Raises CorralError."""
        yield _status(_BEGIN)
        if wanted is None or self._pulls is None:
            yield _status(_SUCCESS)
            return
        before: Coming | None = None
        steps = self._pulls.follow(wanted)
        try:
            async with contextlib.aclosing(steps):
                async for coming in steps:
                    for line in _progress(before, coming):
                        yield line
                    before = coming
        except NotThere as error:
            raise NoManifest(error.message, hint=error.hint) from error
        if self._named(name) is None:
            raise StoreFailed(
                f"{name} is in the store now, but nothing can be served by this name.",
                hint="`corral models list` says why, or what else it is called.",
            )
        for status in _END:
            yield _status(status)


class _Stream(StreamingResponse):
    """Lines, the last of which may be an error; whoever makes them hears at once that the client has left."""

    def __init__(self, lines: AsyncGenerator[bytes, None], request_id: str) -> None:
        self._lines = lines
        super().__init__(_told(lines, request_id), media_type="application/x-ndjson")

    async def stream_response(self, send: Send) -> None:
        """Also where it ends between two lines."""
        async with contextlib.aclosing(self._lines):
            await super().stream_response(send)


async def _told(lines: AsyncGenerator[bytes, None], request_id: str) -> AsyncGenerator[bytes, None]:
    try:
        async for line in lines:
            yield line
    except CorralError as error:
        yield Ollama().error_event(error, request_id)


def _progress(before: Coming | None, now: Coming) -> Iterator[bytes]:
    """A line for each file that is further; where none is, one more of the last: a sign of life."""
    seen = {each.path: each for each in before or ()}
    further = [each for each in now if seen.get(each.path) != each]
    if not now and before is not None:
        yield _status(_BEGIN)
    for each in further or now[-1:]:
        row = {"status": f"pulling {each.sha256[:_ID_CHARS] or each.path.rpartition('/')[2]}"}
        digest = {"digest": f"sha256:{each.sha256}"} if each.sha256 else {}
        size = {"total": each.size_bytes} if each.size_bytes is not None else {}
        yield msgspec.json.encode({**row, **digest, **size, "completed": each.done_bytes}) + b"\n"


def _status(text: str) -> bytes:
    return msgspec.json.encode({"status": text}) + b"\n"
