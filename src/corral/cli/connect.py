"""
How the commands talk to a running Corral: HTTP over the control socket in its state directory, or over --server.

Synchronous and small on purpose: a command asks one thing and ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from corral.cli.usage import UsageError
from corral.domain.errors import ConfigError, CorralError, PlaceFailed, Refused, UnknownModel

if TYPE_CHECKING:
    from http.client import HTTPResponse

CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0
ERROR_LIMIT: Final = 64 * 1024


class NotRunning(PlaceFailed):
    """No Corral runs here."""

    code = "not_running"


class Answered(Refused):
    """The Corral that was asked said no; `status` is the HTTP status."""

    def __init__(self, message: str, status: int, *, code: str = "") -> None:
        super().__init__(message)
        self.answer_status = status
        self.answer_code = code


class Corral:
    """
    A running Corral. `url` "" means the control socket, whose owner needs no key. `ends_with_us`: it was started for
    this command.
    """

    def __init__(self, *, socket_path: str = "", url: str = "", key: str = "", ends_with_us: bool = False) -> None:
        self.ends_with_us = ends_with_us
        self.socket_path = socket_path
        self.url = url.rstrip("/").removesuffix("/v1")  # the address as client libraries want it is right too
        self._key = key
        if url and not url.startswith(("http://", "https://")):
            raise UsageError(f"--server {url!r} must begin with http:// or https://.")

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.url or self.socket_path

    @contextmanager
    def open(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = ANSWER_S
    ) -> Iterator[HTTPResponse]:
        """
        The response to one request, its body still to be read; closing it on the way ends the request.

        Raises NotRunning when nobody answers, Answered for an error status.
        """
        from http.client import HTTPException  # 50 ms to import: not before something is asked

        from corral.cli import wire

        connection, base = wire.connection(self.socket_path, self.url, timeout_s=CONNECT_S)
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            try:
                connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request(method, base + path, data, headers)
                response = connection.getresponse()
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError, wire.UnknownHost) as error:
                raise self._not_running(error) from None
            except TimeoutError:
                raise PlaceFailed(f"{self.place} does not answer.") from None
            except (OSError, HTTPException) as error:
                raise PlaceFailed(f"{self.place} cannot be asked: {_reason(error)}.") from None
            if response.status >= 400:
                raise _answered(response)
            yield response
        finally:
            connection.close()

    def _not_running(self, error: OSError) -> NotRunning:
        if self.url:
            return NotRunning(f"Nobody answers at {self.url}: {_reason(error)}.")
        return NotRunning(
            f"No Corral runs here (nobody answers at {self.socket_path}).", hint="Start one: corral serve."
        )

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = ANSWER_S
    ) -> Any:
        """The JSON of a whole answer."""
        from http.client import HTTPException

        with self.open(method, path, body, timeout_s=timeout_s) as response:
            try:
                return json.loads(response.read() or b"null")
            except ValueError:
                raise PlaceFailed(f"{self.place} is not a Corral: its answer is not JSON.") from None
            except (OSError, HTTPException) as error:
                raise PlaceFailed(f"{self.place} broke off its answer: {_reason(error)}.") from None

    def running(self) -> bool:
        """True when it answers."""
        try:
            self.ask("GET", "/health", timeout_s=CONNECT_S)
        except CorralError:
            return False
        return True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _answered(response: HTTPResponse) -> Answered:
    """The sentence in an error body, whichever of the known shapes it has."""
    from http.client import HTTPException

    try:
        body = json.loads(response.read(ERROR_LIMIT))
    except (ValueError, OSError, HTTPException):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str) or not message:
        message = f"The answer was {response.status} {response.reason}."
    message = message.replace(UnknownModel.listed, "`corral ps --all` lists them.")
    code = str(error.get("code", "")) if isinstance(error, dict) else ""
    return Answered(message, response.status, code=code)


def find(*, server: str = "", key: str = "", state_dir: str = "", config: str = "") -> Corral:
    """The Corral that a command means: --server, else the one whose state directory this is."""
    if server:
        return Corral(url=server, key=key)
    from corral.config import paths

    folder = os.path.abspath(state_dir) if state_dir else _state_dir(config)
    return Corral(socket_path=paths.control_socket(folder), key="")


def _state_dir(config: str) -> str:
    """
    The state directory of the config, without checking the config: a broken one must not keep `ps` from answering.
    """
    from corral.config import paths

    env, cwd = os.environ, os.getcwd()
    file = paths.find_config(config, env, cwd)
    if file and not os.path.exists(file):  # it was named: to look elsewhere would be to talk to another Corral
        raise ConfigError("there is no such file.", file=file, hint="It is named by --config or $CORRAL_CONFIG.")
    if env.get("CORRAL_STATE_DIR"):
        return paths.resolve(env["CORRAL_STATE_DIR"], cwd, env)
    written = _written_state_dir(file) if file else ""
    if not written:
        return paths.state_dir(env)
    from corral.config import files

    return paths.resolve(written, files.folder_of(file), env)


def _written_state_dir(file: str) -> str:
    from corral.config import files, templates
    from corral.config.problems import Problems

    try:
        read = files.read_file(file)
    except CorralError:
        return ""
    read.data = {"state_dir": read.data.get("state_dir") or "", "macros": read.data.get("macros")}
    filled = templates.expand(read, os.environ, Problems(file), fixed=frozenset()).data["state_dir"]
    return str(filled) if isinstance(filled, str) else ""
