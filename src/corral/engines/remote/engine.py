"""The remote engine: a server that somebody else runs. Ready means that its health path answers 200."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from corral.contracts.engine import ReadyInfo, Wished
from corral.contracts.headers import Header
from corral.contracts.options import OptionTable
from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import Attach, Endpoint, ExitStatus, Footprint, LaunchPlan, Place
from corral.engines.remote.options import OPTIONS, checked, endpoint_of
from corral.kit.localhttp import Answer, LocalConnection, NotHttp

_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0  # somebody else's server: do not hammer it
_ANSWER_S: Final = 10.0
_TAIL: Final = 20


class RemoteEngine:
    """Implements `contracts.engine.Engine`: `plan` is always an Attach."""

    name = "remote"
    options: OptionTable = OPTIONS

    def problems(self, model: ModelSpec) -> list[str]:
        """Sentences about the options, and about keys that a server which already runs cannot follow."""
        _, found = checked(model.options)
        load = ("load_options", model.load_options)
        for key, value in (("args", model.args), ("env", model.env), ("source", model.source.given), load):
            if value:
                found.append(f"{key} has no meaning for a remote Model: its server already runs.")
        return found

    def slots(self, model: ModelSpec) -> int:
        """The `parallel` option."""
        value = checked(model.options)[0].get("parallel")
        return value if isinstance(value, int) else 1

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        """No file of it is read."""
        return []

    def resolved(self, model: ModelSpec) -> ModelSpec:
        """The options stand where they stand."""
        return model

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        """Nobody but its operator knows how it is loaded."""
        return Wished(None, tuple(wanted))

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """None of this host."""
        return ()

    async def host_warning(self, model: ModelSpec) -> str:
        """Nothing is known of its host."""
        return ""

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        """The options say it all."""
        return {}

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan | Attach:
        """Nothing is started."""
        options, wrong = checked(model.options)
        if wrong:
            raise StartFailed(wrong[0], hint=" ".join(wrong[1:]), permanent=True)
        return Attach(endpoint_of(options))

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        """
        Return once the health path answers 200.

        A server without that path (404) is asked for its models instead. A refused key raises StartFailed.
        """
        options, _ = checked(model.options)
        path, pause = str(options.get("health", "/health")), _PAUSE_S
        async with _connection(endpoint) as link:
            while True:
                status = await _status(link, endpoint, path)
                if status == 200:
                    context = options.get("ctx_size")
                    return ReadyInfo(
                        slots=self.slots(model),
                        context_tokens=context if isinstance(context, int) else None,
                        capabilities=frozenset({"chat"}),
                        metrics_path=str(options.get("metrics", "")),
                    )
                if status in (401, 403):
                    raise StartFailed(
                        f"The server at {endpoint} refuses the key ({status}).", hint="Correct options.api_key."
                    )
                if status == 404:
                    if path == "/v1/models":
                        raise StartFailed(
                            f"The server at {endpoint} has neither {options['health']} nor /v1/models.",
                            hint="Correct options.base_url or options.health.",
                        )
                    path = "/v1/models"
                    continue
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE_S)

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        """True when it answers at all: an Endpoint does not say which path is its health."""
        try:
            async with _connection(endpoint) as link:
                answer = await _get(link, endpoint, "/v1/models", timeout_s)
        except (OSError, TimeoutError, NotHttp):
            return False
        return answer.status < 500

    def declared(self, model: ModelSpec) -> Footprint | None:
        """Nothing of this machine's."""
        return Footprint()

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        """It never became ready: there is no process that could have ended."""
        options, _ = checked(model.options)
        return StartFailed(
            f"The server at {options.get('base_url', '(no address)')} did not become ready.",
            hint="Is it running, and can this machine reach it?",
            log_tail=tuple(log[-_TAIL:]),
        )

    def progress(self, line: str) -> float | None:
        """It does not say."""
        return None

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        """It takes none of this host's memory, and shows no log."""
        return None


def _connection(endpoint: Endpoint) -> LocalConnection:
    return LocalConnection(socket=endpoint.socket, host=endpoint.host, port=endpoint.port)


async def _status(link: LocalConnection, endpoint: Endpoint, path: str) -> int:
    """The status of one GET; 0 when nobody answered."""
    try:
        return (await _get(link, endpoint, path, _ANSWER_S)).status
    except (OSError, TimeoutError):
        return 0
    except NotHttp as error:
        raise StartFailed(
            f"What answers at {endpoint} does not speak HTTP: {error}.", hint="Correct options.base_url."
        ) from error


async def _get(link: LocalConnection, endpoint: Endpoint, path: str, timeout_s: float) -> Answer:
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    return await link.get(endpoint.base_path + path, headers=headers, timeout_s=timeout_s)
