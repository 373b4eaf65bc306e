"""
FakeProgramEngine: an Engine over `fakes.engine_program`, whose failures are options of the Model.

It lets whole journeys run in milliseconds, with real processes and real sockets: `flags` are the program's arguments.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from corral.contracts.engine import ReadyInfo, Wished
from corral.contracts.headers import Header
from corral.contracts.options import OptionKind, OptionSpec, OptionTable
from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import Attach, Endpoint, ExitStatus, Footprint, LaunchPlan, LoadWish, Place
from corral.kit.localhttp import LocalConnection, NotHttp

POLL_S: Final = 0.01
CONTEXT: Final = 4096


class FakeProgramEngine:
    """Implements `contracts.engine.Engine`."""

    name = "fake"
    options: OptionTable = (
        OptionSpec("parallel", OptionKind.INT, "Requests served at one time.", default=4, minimum=1, unit="slots"),
        OptionSpec("memory", OptionKind.LIST, "What a load takes: DEVICE=BYTES, such as ram=1024."),
        OptionSpec("ctx_size", OptionKind.INT, "Context of one request.", default=CONTEXT, minimum=1, unit="tokens"),
        OptionSpec("flags", OptionKind.LIST, "Arguments of the fake engine program: how it fails."),
    )

    def problems(self, model: ModelSpec) -> list[str]:
        """Anything goes."""
        return []

    def slots(self, model: ModelSpec) -> int:
        """The `parallel` option."""
        slots = model.options.get("parallel", 4)
        assert isinstance(slots, int)
        return slots

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        """No file of it is read."""
        return []

    def resolved(self, model: ModelSpec) -> ModelSpec:
        """The options stand where they stand."""
        return model

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        """`ctx_size` may be chosen."""
        own: OptionValue = model.options.get("ctx_size", CONTEXT)
        ctx = wanted.get("ctx_size", own)
        wish = None if ctx == own else LoadWish({"ctx_size": ctx}, {"ctx_size": own})
        return Wished(wish, tuple(name for name in wanted if name != "ctx_size"))

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """It needs no GPU."""
        return ()

    async def host_warning(self, model: ModelSpec) -> str:
        """Nothing is known of its host."""
        return ""

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        """The options say it all."""
        return {}

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan | Attach:
        """The program with the Model's flags."""
        endpoint = Endpoint(place.socket, place.host, place.port, key=secrets.token_hex(16))
        where = ("--socket", place.socket) if place.socket else ("--port", str(place.port))
        flags = model.options.get("flags", ())
        assert isinstance(flags, tuple)
        return LaunchPlan(
            argv=(
                sys.executable, "-m", "corral.fakes.engine_program", *where, "--name", model.name,
                "--slots", str(self.slots(model)), "--key-env", "FAKE_KEY", *flags,
            ),
            endpoint=endpoint,
            env=dict(model.env),
            secret_env={"FAKE_KEY": endpoint.key},
            tells_progress=True,
        )  # fmt: skip

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        """Return once it is healthy."""
        while not await self.alive(endpoint, timeout_s=1.0):
            await asyncio.sleep(POLL_S)
        return ReadyInfo(slots=self.slots(model), context_tokens=_context(model), metrics_path="/metrics")

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        """True when it answers 200."""
        async with LocalConnection(socket=endpoint.socket, host=endpoint.host, port=endpoint.port) as link:
            try:
                return (await link.get("/health", timeout_s=timeout_s)).status == 200
            except (OSError, TimeoutError, NotHttp):
                return False

    def declared(self, model: ModelSpec) -> Footprint | None:
        """The option `memory`."""
        sizes = model.options.get("memory", ())
        assert isinstance(sizes, tuple)
        by_device = {name: int(size) for name, _, size in (each.partition("=") for each in sizes)}
        return Footprint.of(by_device) if by_device else None

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        """What happened, and the last lines."""
        what = f"ended: it {exit}" if exit else "never became ready"
        memory = any("out of memory" in line for line in log)
        return StartFailed(f"The fake engine of {model.name} {what}.", log_tail=tuple(log[-20:]), memory=memory)

    def progress(self, line: str) -> float | None:
        """`progress: 37 %`."""
        return float(line[10:-1]) / 100 if line.startswith("progress: ") and line.endswith(" %") else None

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        """It does not say."""
        return None


def _context(model: ModelSpec) -> int:
    tokens = model.options.get("ctx_size", CONTEXT)
    assert isinstance(tokens, int)
    return tokens
