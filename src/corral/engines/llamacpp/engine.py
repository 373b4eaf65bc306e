"""
The llama.cpp engine: a Model and a Place become a LaunchPlan; a running one is recognised, a failed one explained.

Two programs, one meaning: a llama-server binary, or the embedded worker with the same options. Each start has a key of
its own, which reaches the binary through its environment and the worker through a 0600 file, never through argv.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from corral.contracts.engine import ReadyInfo, Wished
from corral.contracts.headers import Header, Headers
from corral.contracts.options import OptionTable
from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.domain.fleet import ModelSpec, OptionValue
from corral.domain.launch import LLAMA, Attach, Endpoint, ExitStatus, Footprint, LaunchPlan, Place
from corral.engines.llamacpp import embedded, gpu, ready, wishes
from corral.engines.llamacpp.argv import Argv, argv_of
from corral.engines.llamacpp.binary import Program, choose, identity_of, uses_embedded, worker_argv
from corral.engines.llamacpp.diagnose import diagnose
from corral.engines.llamacpp.help import Capabilities
from corral.engines.llamacpp.measured import buffers_of
from corral.engines.llamacpp.options import OPTIONS
from corral.engines.llamacpp.prepare import files_of, misfits, prepare
from corral.engines.llamacpp.probe import ENV_SCRUB, Prober
from corral.engines.llamacpp.progress import progress_of
from corral.engines.llamacpp.settings import Settings, settings_of
from corral.kit.ports import free_port

logger = logging.getLogger(__name__)

_SPEC_FILE: Final = "worker.json"
_KEY_FILE: Final = "engine.key"
_SPEAKS: Final = (LLAMA,)
_LOOK_AGAIN_S: Final = 1.0  # at PATH
_STOP_GRACE_S: Final = 2.0  # on SIGTERM llama-server may wait for its requests for as long as their clients stay


class LlamaCppEngine:
    """
    Implements `contracts.engine.Engine`.

    `cache` is a folder where probed binaries are remembered over restarts; `hidden_env` names variables of Corral's
    environment that no probed binary may see, besides those that look like secrets; `headers` reads model files, so
    that files which do not fit each other are found before a start.
    """

    name = "llamacpp"
    options: OptionTable = OPTIONS

    def __init__(
        self,
        *,
        cache: Path | None = None,
        which: Callable[[str], str | None] = shutil.which,
        deadline_s: float = 20.0,
        hidden_env: frozenset[str] = frozenset(),
        headers: Headers | None = None,
    ) -> None:
        self._headers = headers
        self._which = which
        self._default: tuple[float, str, bool] | None = None
        self._programs: dict[str, tuple[float, dict[str, object]]] = {}  # by `binary`, when it was looked for
        self._prober = Prober(cache=cache, deadline_s=deadline_s, hidden_env=hidden_env)

    def problems(self, model: ModelSpec) -> list[str]:
        """What cannot work together, or not with the engine that would be used (which is found by a look at PATH)."""
        settings = settings_of(model)
        found = [*settings.problems, *wishes.problems(model)]
        if not model.source.given:
            found.append("A llamacpp Model needs a source: a path to a .gguf file, or a reference to fetch it by.")
        if self._uses_embedded(model.binary):
            found += embedded.refused(settings)
            if any(name.startswith("LLAMA_") for name, _ in model.env):
                found.append("The embedded engine reads no LLAMA_* environment: use options.")
        return found

    def misfits(self, model: ModelSpec, header: Header | None = None) -> list[str]:
        """See `contracts.engine.Engine.misfits`."""
        if self._headers is None or not (header or model.source.path):
            return []
        return misfits(model, settings_of(model), self._headers, header)

    def slots(self, model: ModelSpec) -> int:
        """The `parallel` option, wherever it is written."""
        return settings_of(model).slots

    def _uses_embedded(self, binary: str) -> bool:
        """A look at PATH for all Models that name no program, not for each of them."""
        if binary:
            return uses_embedded(binary, which=self._which)
        now, path, known = time.monotonic(), os.environ.get("PATH", ""), self._default
        if known is None or known[1] != path or now - known[0] > _LOOK_AGAIN_S:
            known = self._default = (now, path, uses_embedded(binary, which=self._which))
        return known[2]

    def resolved(self, model: ModelSpec) -> ModelSpec:
        """See `contracts.engine.Engine.resolved`."""
        settings = settings_of(model)
        return dataclasses.replace(model, options=settings.options, args=settings.args)

    def digest_parts(self, model: ModelSpec) -> Mapping[str, object]:
        """The program's and every file's identity. What is missing is part of the digest too, so nothing raises."""
        at, program = self._programs.get(model.binary, (float("-inf"), {}))
        if time.monotonic() - at > _LOOK_AGAIN_S:  # thousands of Models are asked about one after the other
            try:
                program = choose(model.binary, which=self._which).identity()
            except StartFailed as error:
                program = {"missing": error.message}
            self._programs[model.binary] = time.monotonic(), program
        files = [path for path in files_of(model, settings_of(model)) if path]
        return {"program": program, "files": [[path, *identity_of(path).values()] for path in files]}

    async def plan(self, model: ModelSpec, place: Place) -> LaunchPlan | Attach:
        """Check the files, ask the binary what it knows, and say how to start it."""
        settings = settings_of(model)
        wrong = self.problems(model)
        if wrong:
            raise StartFailed(wrong[0], hint=" ".join(wrong[1:]), permanent=True)
        ready_made = await asyncio.to_thread(prepare, model, settings, self._headers)
        path, settings = ready_made.path, ready_made.settings
        program = await asyncio.to_thread(choose, model.binary, which=self._which)
        endpoint = _endpoint(place)
        if program.embedded:
            return _worker_plan(model, settings, place, endpoint, path)
        known = (await self._prober.probe(program)).known
        if endpoint.socket and not _takes_sockets(known):
            endpoint = Endpoint(host="127.0.0.1", port=free_port(), key=endpoint.key, speaks=endpoint.speaks)
        return _binary_plan(program, known, model, settings, place, endpoint, path)

    async def wait_ready(self, model: ModelSpec, endpoint: Endpoint) -> ReadyInfo:
        """See `ready`: noticed within 20 ms."""
        info = await ready.wait_ready(endpoint, settings_of(model))
        if info.details.get("drafts") is False:
            logger.warning("%s answers without drafts: llama.cpp did not take its draft model", model.name)
        return info

    async def alive(self, endpoint: Endpoint, *, timeout_s: float) -> bool:
        """True when `/health` answers 200 within the time."""
        return await ready.alive(endpoint, timeout_s)

    def declared(self, model: ModelSpec) -> Footprint | None:
        """The files tell."""
        return None

    def diagnose(
        self,
        model: ModelSpec,
        exit: ExitStatus | None,
        log: Sequence[str],
        *,
        endpoint: Endpoint | None = None,
        listens: Sequence[str] = (),
    ) -> StartFailed:
        """See `diagnose`: the first known string in the log, else how it ended and what it last said."""
        return diagnose(exit, log)

    def wished(self, model: ModelSpec, wanted: Mapping[str, OptionValue], trained_tokens: int | None) -> Wished:
        """See `wishes`."""
        return wishes.wished(model, wanted, trained_tokens)

    async def devices(self, model: ModelSpec) -> tuple[DeviceMemory, ...]:
        """See `contracts.engine.Engine.devices`: its program's list, with the Model's `env` and `device` applied."""
        options = settings_of(model).options
        asked = options.get("device", ())
        names = asked if isinstance(asked, tuple) else (str(asked),)
        if "model_draft" in options:  # which has devices of its own, and all where none are named
            names = ()
        if names == (gpu.NO_DEVICE,):
            return ()
        try:
            program = await asyncio.to_thread(choose, model.binary, which=self._which)
            return gpu.usable(await self._prober.devices(program, dict(model.env)), names)
        except StartFailed:
            return ()  # the start itself will say what is wrong with the program

    def progress(self, line: str) -> float | None:
        """See `progress`. The embedded engine says it."""
        return progress_of(line)

    def measured(self, model: ModelSpec, log: Sequence[str]) -> Footprint | None:
        """See `measured`: the buffers that llama.cpp names in its log, by device."""
        buffers = buffers_of(log)
        return buffers.footprint() if buffers else None

    async def host_warning(self, model: ModelSpec) -> str:
        """One sentence when a GPU is here and this Model's engine cannot use it, else "". For `serve` and `doctor`."""
        present = await asyncio.to_thread(gpu.gpus_present)
        if not present:
            return ""
        try:
            program = await asyncio.to_thread(choose, model.binary, which=self._which)
            return gpu.gpu_warning(program, present, await self._prober.devices(program, dict(model.env)))
        except StartFailed:
            return ""  # the start itself will say what is wrong with the program


def _environment(model: ModelSpec, place: Place) -> dict[str, str]:
    env = dict(model.env)
    return {**gpu.device_order(env), **env, "XDG_CONFIG_HOME": place.scratch}


def _endpoint(place: Place) -> Endpoint:
    key = secrets.token_urlsafe(32)
    if place.socket:
        return Endpoint(socket=place.socket, key=key, speaks=_SPEAKS)
    return Endpoint(host=place.host, port=place.port or free_port(), key=key, speaks=_SPEAKS)


def _takes_sockets(known: Capabilities) -> bool:
    flag = known.first(("--host",))
    return flag is not None and "UNIX" in flag.text.upper()


def _binary_plan(
    program: Program,
    known: Capabilities,
    model: ModelSpec,
    settings: Settings,
    place: Place,
    endpoint: Endpoint,
    path: str,
) -> LaunchPlan:
    argv: Argv = [program.path, "--model", path, "--alias", model.name, "--host", endpoint.socket or endpoint.host]
    if not endpoint.socket:
        argv += ["--port", str(endpoint.port)]
    argv += _closed_doors(known)
    files: dict[str, str] = {}
    if "--api-key" in known.flags and "LLAMA_API_KEY" not in known.text:
        files[_KEY_FILE] = endpoint.key + "\n"
        argv += ["--api-key-file", os.path.join(place.scratch, _KEY_FILE)]
    return LaunchPlan(
        argv=(*argv, *argv_of(settings, known)),
        endpoint=endpoint,
        env=_environment(model, place),
        secret_env={} if files else {"LLAMA_API_KEY": endpoint.key},
        env_scrub=ENV_SCRUB,
        files=files,
        cwd=place.scratch,
        stop_grace_s=_STOP_GRACE_S,
    )


def _closed_doors(known: Capabilities) -> Argv:
    """Routes that Corral reads are on; the network, agents and browsers are out, whatever a config.ini in /etc says."""
    wanted = (
        ("--metrics",),
        ("--slots",),
        ("--offline",),
        ("--no-agent",),
        ("--no-ui-mcp-proxy",),
        ("--no-cors-credentials",),
        ("--cors-origins", "localhost"),
    )
    return [part for flag in wanted if flag[0] in known.flags for part in flag]


def _worker_plan(model: ModelSpec, settings: Settings, place: Place, endpoint: Endpoint, path: str) -> LaunchPlan:
    spec = {
        "model": path,
        "alias": model.name,
        "socket": endpoint.socket,
        "host": endpoint.host,
        "port": endpoint.port,
        "key": endpoint.key,
        "fields": embedded.fields_of(settings),
    }
    return LaunchPlan(
        argv=worker_argv(os.path.join(place.scratch, _SPEC_FILE)),
        endpoint=endpoint,
        env=_environment(model, place),
        tells_progress=True,
        env_scrub=ENV_SCRUB,
        files={_SPEC_FILE: json.dumps(spec)},
        cwd=place.scratch,
        stop_grace_s=_STOP_GRACE_S,
    )
