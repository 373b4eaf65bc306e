"""
The command engine: any program that speaks HTTP, started by its own command line.

Corral gives it a place to listen, waits until it is ready, and ends it; what it serves is its own affair. OpenAI's
routes go to it as they come, with its own name for the model and its own path in the place of `/v1`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

from corral.contracts.engine import ReadyInfo, Wished
from corral.contracts.headers import Header
from corral.contracts.options import OptionTable
from corral.domain.devices import RAM, DeviceMemory
from corral.domain.errors import FileMissing, StartFailed
from corral.domain.fleet import ArgValue, ModelSpec, OptionValue, Source
from corral.domain.launch import LLAMA, PID, Attach, Endpoint, ExitStatus, Footprint, LaunchPlan, Place
from corral.engines.command import program, ready
from corral.engines.command.diagnose import diagnose
from corral.engines.command.options import OPTIONS, address_of, checked, problems_of, words_of
from corral.engines.command.placeholders import KEY_WORDS, fill, named
from corral.kit.ports import free_port

_KEY_FILE: Final = "engine.key"
_CLAIM_PAUSE_S: Final = 0.05
_SCRUB: Final = ("CORRAL_",)
_UNBUFFERED: Final = "PYTHONUNBUFFERED"  # or Python keeps what it prints until there is much of it


class CommandEngine:
    """Implements `contracts.engine.Engine`."""

    name = "command"
    options: OptionTable = OPTIONS

    def __init__(self, *, not_there_s: float = ready.NOT_THERE_S) -> None:
        self._not_there_s = not_there_s
        self._claimed: set[tuple[str, str, int]] = set()  # fixed addresses that we have given to a Model

    def problems(self, model: ModelSpec) -> list[str]:
        """See `options`."""
        found = problems_of(model)
        if model.load_options:
            found.append("load_options has no meaning for this engine: its command line says how it is loaded.")
        return found

    def slots(self, model: ModelSpec) -> int:
        """The `parallel` option."""
        value = checked(model.options)[0].get("parallel")
        return value if isinstance(value, int) else 1

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        """No file of it is read."""
        return []

    def resolved(self, model: ModelSpec) -> ModelSpec:
        """Its source may be a file of any kind: nothing is read from it."""
        return dataclasses.replace(model, source=Source(), options=checked(model.options)[0])

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        """Nobody but its operator knows how it is loaded."""
        return Wished(None, tuple(wanted))

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """Nothing is known of what it can use."""
        return ()

    async def host_warning(self, model: ModelSpec) -> str:
        """Nothing is known of what it can use."""
        return ""

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        """The program, and every file that its command names."""
        options, _ = checked(model.options)
        words = [*words_of(options, "command"), *_flags(model.args, {})]
        if model.source.path:
            words.append(model.source.path)
        cwd = _cwd(options)
        found = program.identity(words, cwd=cwd, path=_path(model)) if words else []
        return {"files": found}

    def declared(self, model: ModelSpec) -> Footprint | None:
        """The option `memory`."""
        devices = {}
        for item in words_of(checked(model.options)[0], "memory"):
            name, _, size = item.partition("=")
            devices[name] = int(size)
        return Footprint(devices.pop(RAM, 0), devices) if words_of(model.options, "memory") else None

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan | Attach:
        """Find the program and a place to listen, and fill both in."""
        options, _ = checked(model.options)
        wrong = self.problems(model)
        if wrong:
            raise StartFailed(wrong[0], hint=" ".join(wrong[1:]), permanent=True)
        cwd = _cwd(options)
        await asyncio.to_thread(_check_place, model, cwd)
        words = words_of(options, "command")
        found = await asyncio.to_thread(program.find, words[0], cwd=cwd, path=_path(model))
        endpoint = await self._endpoint(model, options, place)
        values = _values(model, endpoint, place)
        env = {name: fill(value, values) for name, value in model.env}
        secret = {name: env.pop(name) for name, value in model.env if "key" in named((value,))}
        return LaunchPlan(
            argv=(found, *(fill(word, values) for word in words[1:]), *_flags(model.args, values)),
            endpoint=endpoint,
            env={_UNBUFFERED: "1", **env},
            secret_env=secret,
            env_scrub=_SCRUB,
            files={_KEY_FILE: endpoint.key + "\n"} if "key_file" in _names(model, options) else {},
            cwd=cwd,
            stop_signal=str(options["stop_signal"]),
            stop_grace_s=model.timeouts.stop_s,
            stop_command=tuple(fill(word, {**values, "pid": PID}) for word in words_of(options, "stop_command")),
            ready_pattern=str(options.get("ready_pattern", "")),
        )

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        """See `ready`."""
        options, _ = checked(model.options)
        await ready.wait_ready(endpoint, str(options["health"]), not_there_s=self._not_there_s)
        context = options.get("ctx_size")
        return ReadyInfo(
            slots=self.slots(model),
            context_tokens=context if isinstance(context, int) else None,
            metrics_path=str(options.get("metrics", "")),
        )

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        """See `ready`."""
        return await ready.alive(endpoint, timeout_s)

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        """See `diagnose`."""
        return diagnose(model, checked(model.options)[0], exit, log, endpoint=endpoint, listens=listens)

    def progress(self, line: str) -> float | None:
        """It does not say."""
        return None

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        """Its log says nothing that is known; its processes are measured as all are."""
        return None

    async def _endpoint(self, model: ModelSpec, options: Mapping[str, OptionValue], place: Place) -> Endpoint:
        names = _names(model, options)
        fixed = address_of(options)
        socket, host, port = "", place.host, 0
        if fixed is not None:
            host, port = fixed
            await self._claim(model, host, port)
        elif "socket" in names:
            socket, host = place.socket, ""
            if not socket:
                raise StartFailed(
                    "There is no folder whose path is short enough for a unix socket.",
                    hint="Set XDG_RUNTIME_DIR to a short path, or write {port} in options.command.",
                )
        else:
            port = place.port or free_port()
        key = str(options.get("api_key", "")) or (secrets.token_urlsafe(32) if names & KEY_WORDS else "")
        return Endpoint(
            socket=socket,
            host=host,
            port=port,
            key=key,
            model_name=str(options.get("model_name", model.name)),
            v1=str(options["base_path"]).rstrip("/"),
            health=str(options["health"]),
            speaks=(LLAMA,) if options["speaks"] == LLAMA else (),
        )

    async def _claim(self, model: ModelSpec, host: str, port: int) -> None:
        """
        Make sure that nobody listens at a fixed address. Raises StartFailed.

        After a reload this Model's own old program may still be there, until its last answer has ended: it is waited
        for, as long as a load may take. Anybody else's is refused at once.
        """
        claim = (model.name, host, port)
        clock = asyncio.get_running_loop().time
        deadline = clock() + (model.timeouts.load_s if claim in self._claimed else 0.0)
        while True:
            try:
                await asyncio.to_thread(program.check_free, host, port)
                break
            except StartFailed:
                if clock() >= deadline:
                    self._claimed.discard(claim)
                    raise
            await asyncio.sleep(_CLAIM_PAUSE_S)
        self._claimed.add(claim)


def _names(model: ModelSpec, options: Mapping[str, OptionValue]) -> frozenset[str]:
    """Every placeholder of the start."""
    return named((*words_of(options, "command"), *_flags(model.args, {}), *(value for _, value in model.env)))


def _values(model: ModelSpec, endpoint: Endpoint, place: Place) -> dict[str, str]:
    values = {
        "model": model.name,
        "source": os.path.abspath(os.path.expanduser(model.source.path)) if model.source.path else "",
        "scratch": place.scratch,
        "key": endpoint.key,
        "key_file": os.path.join(place.scratch, _KEY_FILE),
        "socket": endpoint.socket,
    }
    return {**values, "port": str(endpoint.port)} if endpoint.port else values


def _flags(args: Sequence[tuple[str, ArgValue]], values: Mapping[str, str]) -> list[str]:
    """`args`: true = bare flag, false = left out, a list repeats the flag; a short name has one dash."""
    argv: list[str] = []
    for name, value in args:
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        for item in value if isinstance(value, tuple) else (value,):
            if item is True:
                argv.append(flag)
            elif item is not False:
                argv += [flag, fill(str(item), values)]
    return argv


def _cwd(options: Mapping[str, OptionValue]) -> str:
    return os.path.abspath(os.path.expanduser(str(options.get("cwd", "."))))


def _path(model: ModelSpec) -> str:
    return dict(model.env).get("PATH") or os.environ.get("PATH", os.defpath)


def _check_place(model: ModelSpec, cwd: str) -> None:
    if not os.path.isdir(cwd):
        raise StartFailed(f"The working directory {cwd} does not exist.", hint="Correct options.cwd.", permanent=True)
    if model.source.path and not os.path.exists(os.path.expanduser(model.source.path)):
        raise FileMissing(f"{model.source.path} does not exist.", hint="Correct the Model's `source`.")
