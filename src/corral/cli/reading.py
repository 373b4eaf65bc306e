"""From the words of a command line to Settings: the config file, model files, and what lies over them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from corral.domain.errors import BadRequest

if TYPE_CHECKING:
    from corral.config.load import Loaded
    from corral.contracts.engine import Engine


def engines() -> Mapping[str, Engine]:
    """Every engine; slow to import, so only asked for by commands that check a config."""
    from corral import app

    return app.engines()


def find_file(config: str) -> str:
    """The config file that counts, or ""."""
    from corral.config import paths

    return paths.find_config(config, os.environ, os.getcwd())


def read(
    config: str = "",
    *,
    files: Sequence[str] = (),
    command_line: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
) -> Loaded:
    """
    The whole configuration. With model files no config file is looked for, unless `config` names one.

    Raises ConfigErrors with every problem.
    """
    from corral.config import adhoc
    from corral.config.document import Document, read_file
    from corral.config.load import load_document

    file = "" if files and not config else find_file(config)
    document = read_file(file) if file else Document()
    if files:
        document = adhoc.document_for(files, cwd=os.getcwd(), onto=document)
    over = {**(command_line or {}), **engine_options(options, document.data)}
    return load_document(document, engines=engines(), env=os.environ, command_line=over, cwd=os.getcwd())


def engine_options(options: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """`-o NAME=VALUE` as keys under `defaults.options` of the engine that Models have by default."""
    from corral.config.document import EnvText

    defaults = data.get("defaults")
    engine = defaults.get("engine", "llamacpp") if isinstance(defaults, dict) else "llamacpp"
    found: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.replace("_", "").replace("-", "").isalnum():
            raise BadRequest(f"-o {option!r} is not NAME=VALUE.", hint="Write for example -o ctx_size=8192.")
        found[f"defaults.options.{engine}.{name.replace('-', '_')}"] = EnvText(value)
    return found
