"""An engine's rules made for tests, and a way to load a text as a config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corral.config.load import Loaded, load_all
from corral.config.problems import ConfigErrors
from corral.contracts.options import OptionKind, OptionSpec, OptionTable
from corral.domain.fleet import ModelSpec

OPTIONS: OptionTable = (
    OptionSpec("ctx_size", OptionKind.INT, "Context.", minimum=0, unit="tokens"),
    OptionSpec("n_gpu_layers", OptionKind.INT, "Layers on the GPU.", default="auto", words=("auto", "all"), minimum=0),
    OptionSpec("parallel", OptionKind.INT, "Slots.", default=1, minimum=1, maximum=256),
    OptionSpec("temperature", OptionKind.FLOAT, "Sampling.", minimum=0),
    OptionSpec("mlock", OptionKind.BOOL, "Keep in RAM."),
    OptionSpec("flash_attn", OptionKind.ENUM, "Flash attention.", words=("on", "off", "auto")),
    OptionSpec("chat_template", OptionKind.STR, "Template."),
    OptionSpec("mmproj", OptionKind.PATH, "Projector."),
    OptionSpec("lora", OptionKind.PATHS, "Adapters."),
    OptionSpec("cache_ram", OptionKind.SIZE, "Cache.", minimum=-1, unit="MiB"),
    OptionSpec("stop", OptionKind.LIST, "Stop words."),
)


class Rules:
    """An engine for the config's eyes: it dislikes one combination and has `parallel` slots."""

    options = OPTIONS

    def problems(self, model: ModelSpec) -> list[str]:
        found = []
        if model.options.get("mlock") and model.options.get("ctx_size") == 0:
            found.append("mlock cannot be with ctx_size 0.")
        if not model.source.given:
            found.append("A Model needs a source.")
        return found

    def slots(self, model: ModelSpec) -> int:
        value = model.options.get("parallel", 1)
        assert isinstance(value, int)
        return value


class Loader:
    """Loads a text as `corral.yaml` of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = str(folder / "corral.yaml")
        self.engines = {"llamacpp": Rules(), "other": Rules()}

    def __call__(
        self, text: str | bytes, env: dict[str, str] | None = None, command_line: dict[str, Any] | None = None
    ) -> Loaded:
        Path(self.file).write_bytes(text if isinstance(text, bytes) else text.encode())
        variables = {"HOME": "/home/user", **(env or {})}
        return load_all(
            self.file, engines=self.engines, env=variables, command_line=command_line, cwd=str(self.folder / "cwd")
        )

    def problems(self, text: str | bytes, env: dict[str, str] | None = None) -> list[str]:
        """The sentences about a bad text, the file's folder cut off."""
        with pytest.raises(ConfigErrors) as caught:
            self(text, env)
        return [error.sentence().replace(f"{self.folder}/", "") for error in caught.value.problems]


@pytest.fixture
def config(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


@pytest.fixture
def tables() -> dict[str, OptionTable]:
    return {"llamacpp": OPTIONS, "other": OPTIONS}


Load = Callable[..., Loaded]
