"""
The one tree of errors, grouped by who can help.

CorralError
├── Refused              the caller can help: the request is wrong or not allowed
│   ├── BadRequest           400 bad_request
│   ├── Unauthorized         401 invalid_api_key
│   ├── Forbidden            403 forbidden
│   ├── UnknownModel         404 model_not_found
│   ├── UnknownRoute         404 not_found
│   ├── WrongMethod          405 method_not_allowed
│   ├── Conflict             409 conflict
│   ├── BodyTooLarge         413 body_too_large
│   ├── NotOffered           501 not_offered
│   └── ConfigError          the configuration is wrong; carries file and line
├── Busy                 waiting helps: 503 with Retry-After
│   ├── QueueFull            queue_full
│   ├── QueueTimeout         queue_timeout
│   ├── NoMemory             no_memory
│   ├── Unloaded             model_unloaded
│   ├── Fetching             fetching; its files are on their way
│   └── ShuttingDown         shutting_down
├── EngineFailed         the operator can help: the engine broke its part
│   ├── StartFailed          503 engine_start_failed; carries a diagnosis and the last log lines
│   ├── EngineDied           502 engine_died
│   ├── EngineSilent         504 engine_timeout
│   ├── EngineProtocolError  502 engine_protocol_error
│   └── EngineRefused        the status that the engine gave; engine_refused
├── PlaceFailed          the host can help: no process, no port, no disk, no keeper
└── StoreFailed          the model files are at fault
    ├── FileMissing
    ├── Unreadable           its bytes could not be looked at: nothing is known of them
    ├── BadGguf
    ├── FetchFailed          they could not be had from elsewhere
    │   ├── NotThere
    │   ├── FetchRefused
    │   └── WrongContent
    ├── NoSpace
    └── FetchStopped

The docstring of a class is its default message. `code` is stable and documented; `status` is the HTTP
status that dialects use unless their own table says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeVar

_Row = TypeVar("_Row")


class CorralError(Exception):
    """Something went wrong in Corral."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    source: ClassVar[str] = "corral"
    asking_again_helps: ClassVar[bool] = True  # False: not before somebody has done something about it

    def __init__(self, message: str = "", *, hint: str = "", retry_after_s: float | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    def sentence(self) -> str:
        """What was wrong and, where known, what to do next, in one line."""
        return f"{self.message} {self.hint}".strip()


class Refused(CorralError):
    """The request was refused."""

    code = "refused"
    status = 400


class BadRequest(Refused):
    """The request is malformed."""

    code = "bad_request"


class Unauthorized(Refused):
    """A valid API key is required: send it as `Authorization: Bearer KEY`."""

    code = "invalid_api_key"
    status = 401
    for_page = False  # a browser may ask for the key (as a password): a page of an engine is wanted


class Forbidden(Refused):
    """This is not allowed here."""

    code = "forbidden"
    status = 403


class UnknownModel(Refused):
    """No Model has this name."""

    code = "model_not_found"
    status = 404
    listed: ClassVar[str] = "GET /v1/models lists them."
    """What to do next, where no name is near; the command line has other words for it."""

    def __init__(self, name: str, near: tuple[str, ...] = ()) -> None:
        self.name = name
        self.near = near
        shown = name if len(name) <= 100 else name[:97] + "..."
        hint = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else self.listed
        super().__init__(f"No Model is named {shown!r}.", hint=hint)


class UnknownRoute(Refused):
    """There is no such route."""

    code = "not_found"
    status = 404


class WrongMethod(Refused):
    """This route does not take that method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str = "", *, allow: str = "") -> None:
        self.allow = allow  # the methods that the route takes, for the Allow header
        super().__init__(message, hint=f"Use {allow}." if allow else "")


class Conflict(Refused):
    """The present state does not allow this."""

    code = "conflict"
    status = 409


class BodyTooLarge(Refused):
    """The request body is larger than the server accepts."""

    code = "body_too_large"
    status = 413


class NotOffered(Refused):
    """Corral does not do this."""

    code = "not_offered"
    status = 501


class ConfigError(Refused):
    """The configuration is wrong."""

    code = "config_error"

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int | None = None,
        column: int | None = None,
        key: str = "",
        hint: str = "",
    ) -> None:
        self.file = file
        self.line = line
        self.column = column if line else None
        self.key = key
        self.bare = message  # without the place
        where = "".join(f"{part}:" for part in (file, line, self.column) if part) if file else ""
        super().__init__(f"{where} {message}".lstrip(), hint=hint)


class Busy(CorralError):
    """Corral is busy; try again later."""

    code = "busy"
    status = 503

    def __init__(self, message: str = "", *, hint: str = "", retry_after_s: float | None = 1.0) -> None:
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)


class QueueFull(Busy):
    """The queue is full; try again later."""

    code = "queue_full"


class QueueTimeout(Busy):
    """The request waited for its Model longer than its deadline allows."""

    code = "queue_timeout"


class NoMemory(Busy):
    """The Model does not fit in the memory there is."""

    code = "no_memory"


class Unloaded(Busy):
    """The Model was unloaded by hand while this request waited for it."""

    code = "model_unloaded"


class Fetching(Busy):
    """The Model's files are on their way; the message says how far they are."""

    code = "fetching"


class ShuttingDown(Busy):
    """Corral is shutting down."""

    code = "shutting_down"


class EngineFailed(CorralError):
    """The engine failed."""

    code = "engine_failed"
    status = 502
    source = "engine"


class StartFailed(EngineFailed):
    """
    The engine did not start.

    `log_tail` holds the engine's last log lines, oldest first, already cut to a bounded length.
    """

    code = "engine_start_failed"
    status = 503

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        log_tail: tuple[str, ...] = (),
        retry_after_s: float | None = None,
        permanent: bool = False,
        memory: bool = False,
        address_taken: bool = False,
    ) -> None:
        self.log_tail = log_tail
        self.memory = memory  # the engine could not get the memory it asked for: with more of it free it may work
        self.address_taken = address_taken  # somebody else was faster: the same start at another address may work
        self.permanent = permanent  # the same start can never work: no point in trying again on a timer
        super().__init__(message, hint=hint, retry_after_s=retry_after_s)


class EngineDied(EngineFailed):
    """The engine ended before it answered."""

    code = "engine_died"


class EngineSilent(EngineFailed):
    """The engine did not answer in time."""

    code = "engine_timeout"
    status = 504


class EngineProtocolError(EngineFailed):
    """The engine's answer is not valid HTTP."""

    code = "engine_protocol_error"


class EngineRefused(EngineFailed):
    """
    The engine refused the request.

    `engine_status` is the status that it gave, `engine_type` its own word for the kind of error ("" where it had none).
    """

    code = "engine_refused"

    def __init__(self, message: str = "", *, engine_status: int = 500, engine_type: str = "") -> None:
        self.engine_status = engine_status
        self.engine_type = engine_type
        super().__init__(message)


class PlaceFailed(CorralError):
    """The place where engines run failed."""

    code = "place_failed"
    status = 503


class StoreFailed(CorralError):
    """The model file cannot be used."""

    code = "store_failed"


class FileMissing(StoreFailed):
    """The model file does not exist."""

    code = "file_missing"
    status = 503


class Unreadable(StoreFailed):
    """The model file could not be read: a mode, a disk, a link that is closed. It says nothing about its bytes."""

    code = "file_unreadable"
    status = 503


class BadGguf(StoreFailed):
    """The file is not a GGUF file that can be read."""

    code = "bad_gguf"
    status = 503


class FetchFailed(StoreFailed):
    """A model could not be fetched: the other side, or the way to it. What has come so far is kept."""

    code = "fetch_failed"
    status = 503


class NotThere(FetchFailed):
    """The other side has no such model, file or quantisation, or does not show it to us."""

    code = "not_there"
    status = 404


class FetchRefused(FetchFailed):
    """Corral itself does not go there: http without leave, a private address, offline, auto_download off."""

    code = "fetch_refused"
    asking_again_helps = False


class WrongContent(FetchFailed):
    """What came is not what was promised: another hash, another length, no GGUF file. It is not kept."""

    code = "wrong_content"


class NoSpace(StoreFailed):
    """The disk has no room for it."""

    code = "no_space"
    status = 507


class FetchStopped(StoreFailed):
    """Somebody has ended the fetch; what has come so far is kept."""

    code = "fetch_stopped"
    status = 503


def nearest(table: Mapping[type[CorralError], _Row], error: CorralError) -> _Row:
    """
    The row of the nearest class that has one, because plug-ins may derive their own errors.

    `table` has a row for CorralError.
    """
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
