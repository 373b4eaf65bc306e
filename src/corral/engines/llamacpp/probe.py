"""
What one exact binary can do: its `--help` and `--version`, read once and kept by path, size and mtime.

llama-server ends at an unknown flag, and flags come and go between builds; so the binary itself is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from corral.domain.devices import DeviceMemory
from corral.domain.errors import StartFailed
from corral.engines.llamacpp.binary import Program, worker_argv
from corral.engines.llamacpp.gpu import device_order, list_devices
from corral.engines.llamacpp.help import Capabilities, parse_help
from corral.kit import guarded
from corral.kit.environment import inherited

ENV_SCRUB: Final = (
    "LLAMA_", "AIP_", "HF_", "HUGGING_FACE_", "HUGGINGFACE_", "CORRAL_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_",
    "MISTRAL_", "OPENROUTER_", "GROQ_", "COHERE_", "AWS_", "AZURE_", "GITHUB_", "GITLAB_",
)  # fmt: skip
"""Environment that would change an engine behind its options, or is a foreign service's and none of its business."""

_BUILD = re.compile(r"version:\s*(\d+)\s*\(|\(build (\d+)|\bb(\d{3,})\b")
_CACHE_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Probed:
    """A binary that answered. `build` is None where it does not say its number."""

    version: str
    build: int | None
    known: Capabilities


class Prober:
    """
    Asks binaries, each once. `cache` is a folder where answers are kept over restarts (None: in memory only).

    `hidden_env` names variables that no program may see, whatever they are called. Every program has `deadline_s`; a
    CUDA build may take seconds, because it wakes the driver even for `--help`.
    """

    def __init__(
        self, *, cache: Path | None = None, deadline_s: float = 20.0, hidden_env: frozenset[str] = frozenset()
    ) -> None:
        self._cache = cache
        self._hidden_env = hidden_env
        self._deadline_s = deadline_s
        self._probed: dict[str, Probed] = {}
        self._devices: dict[str, tuple[DeviceMemory, ...]] = {}
        self._lock = asyncio.Lock()
        self._devices_lock = asyncio.Lock()  # a driver that takes long to wake must not hold up a start

    async def probe(self, program: Program) -> Probed:
        """Flags and version of a binary. Raises StartFailed for one that cannot say."""
        key = _key(program)
        async with self._lock:  # a burst of starts asks once
            found = self._probed.get(key)
            if found is None:
                found = await asyncio.to_thread(self._stored, key) or await self._ask(program, key)
                self._probed[key] = found
        return found

    async def devices(self, program: Program, env: Mapping[str, str] | None = None) -> tuple[DeviceMemory, ...]:
        """
        The devices it can use beside the CPU, with `env` (a Model's own) added. Kept, so what is free may have changed.

        Wakes the GPU driver: only when somebody asks. Raises StartFailed.
        """
        env = env or {}
        key = f"{_key(program)} {json.dumps(dict(env), sort_keys=True)}"
        async with self._devices_lock:
            if key not in self._devices:
                argv = worker_argv() if program.embedded else (program.path,)
                full = {**self._environment(), **device_order(env), **env}
                self._devices[key] = await list_devices(argv, full, deadline_s=self._deadline_s)
        return self._devices[key]

    async def _ask(self, program: Program, key: str) -> Probed:
        help_text = await self._output((program.path, "--help"))
        known = parse_help(help_text)
        if not {"--model", "--port"} <= known.flags.keys():
            raise StartFailed(
                f"{program.path} does not describe itself as llama-server does.",
                hint="Set `binary` to a llama-server.",
                log_tail=tuple(help_text.splitlines()[-20:]),
                permanent=True,
            )
        version = await self._output((program.path, "--version"))
        await asyncio.to_thread(self._store, key, help_text, version)
        return _probed(help_text, version)

    def _environment(self) -> dict[str, str]:
        return inherited(os.environ, scrub=ENV_SCRUB, hidden=self._hidden_env) | {"XDG_CONFIG_HOME": "/nonexistent"}

    async def _output(self, argv: tuple[str, ...]) -> str:
        """Standard output and error together. Raises StartFailed where it cannot run or does not end."""
        try:
            code, text = await guarded.output(argv, env=self._environment(), deadline_s=self._deadline_s)
        except TimeoutError as error:
            raise StartFailed(f"{argv[0]} {argv[-1]} did not answer within {self._deadline_s:g} s.") from error
        except OSError as error:
            raise StartFailed(
                f"{argv[0]} cannot be run: {error.strerror or error}.", hint=_exec_hint(error), permanent=True
            ) from error
        if code != 0:
            raise StartFailed(
                f"{argv[0]} {argv[-1]} ended with code {code}.",
                hint=_library_hint(text),
                log_tail=tuple(text.splitlines()[-20:]),
                permanent=True,
            )
        return text

    def _stored(self, key: str) -> Probed | None:
        if self._cache is None:
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            raw = json.loads((self._cache / f"{key}.json").read_text("utf-8"))
            if raw["format"] == _CACHE_VERSION:
                return _probed(str(raw["help"]), str(raw["version"]))
        return None

    def _store(self, key: str, help_text: str, version: str) -> None:
        if self._cache is None:
            return
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
            self._cache.mkdir(parents=True, exist_ok=True)
            target = self._cache / f"{key}.json"
            part = target.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"format": _CACHE_VERSION, "help": help_text, "version": version}), "utf-8")
            part.replace(target)


def parse_build(version: str) -> int | None:
    """The build number in a `--version` text; 0 (a build outside git) counts as unknown."""
    match = _BUILD.search(version)
    number = int(next(group for group in match.groups() if group)) if match else 0
    return number or None


def _probed(help_text: str, version: str) -> Probed:
    first = next((line.strip() for line in version.splitlines() if "version" in line), version.strip()[:200])
    return Probed(first, parse_build(version), parse_help(help_text))


def _key(program: Program) -> str:
    return hashlib.sha256(json.dumps(program.identity(), sort_keys=True).encode()).hexdigest()[:24]


def _exec_hint(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Make it executable: chmod +x."
    return "It may be built for another machine." if error.errno == 8 else "Set `binary` to a llama-server that runs."


def _library_hint(text: str) -> str:
    match = re.search(r"error while loading shared libraries: ([^:\s]+)", text)
    if match:
        return f"The library {match[1]} is missing: install it, or set LD_LIBRARY_PATH for Corral."
    return ""
