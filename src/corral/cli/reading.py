"""From the words of a command line to Settings: the config file, model files, and what lies over them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from corral.cli.usage import UsageError
from corral.domain.errors import ConfigError, StoreFailed

if TYPE_CHECKING:
    from corral.config.load import Loaded
    from corral.contracts.engine import Engine
    from corral.domain.fleet import ModelSpec
    from corral.domain.storage import StoredModel, StoreSpec


def engines() -> Mapping[str, Engine]:
    """Every engine; slow to import, so only asked for by commands that check a config."""
    from corral import registry

    return registry.engines()


def find_file(config: str) -> str:
    """The config file that counts, or ""."""
    from corral.config import paths

    return paths.find_config(config, os.environ, os.getcwd())


def read(
    config: str = "",
    *,
    files: Sequence[str] = (),
    stored: Sequence[StoredModel] = (),
    command_line: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    with_store: bool = False,
) -> Loaded:
    """
    The whole configuration. With model files or models of the store no config file is looked for, unless `config`
    names one.

    `with_store`: with what stands in the store and no Model uses, where `store.serve` says so.
    Raises ConfigErrors with every problem, UsageError where all of them are on the command line.
    """
    from corral.config import adhoc
    from corral.config.document import Document
    from corral.config.files import read_file
    from corral.config.load import load_document
    from corral.config.overrides import COMMAND_LINE
    from corral.config.problems import ConfigErrors

    given = bool(files or stored)
    file = "" if given and not config else find_file(config)
    document = read_file(file) if file else Document()
    configured = set(document.data.get("models") or ())
    if given:
        document = adhoc.document_for(files, cwd=os.getcwd(), stored=stored, onto=document)
    over = {**(command_line or {}), **engine_options(options, document.data)}
    try:
        loaded = load_document(
            document,
            engines=engines(),
            env=os.environ,
            command_line=over,
            cwd=os.getcwd(),
            stored=_stored if with_store else None,
        )
    except ConfigErrors as error:
        if all(problem.file == COMMAND_LINE for problem in error.problems):
            raise UsageError(error.message) from None
        raise
    settings = loaded.settings
    _check_files(
        [model.source.path for name, model in settings.fleet.models.items() if given and name not in configured]
    )
    return (
        replace(loaded, settings=replace(settings, fleet=adhoc.as_pulled(settings.fleet, stored))) if stored else loaded
    )


def _stored(store: StoreSpec, models: Collection[ModelSpec]) -> Sequence[StoredModel]:
    from corral.store.shelf.serving import stored_models

    return stored_models(store, models)


def _check_files(given: Sequence[str]) -> None:
    """Files of the command line are there to be served: what cannot be is refused, where a config's gets a warning."""
    from corral.config.problems import ConfigErrors
    from corral.store.files import resolve

    problems = []
    for path in given:
        try:
            resolve(path)
        except StoreFailed as error:
            message = error.message if path in error.message else f"{path}: {error.message}"
            problems.append(ConfigError(message, hint=error.hint))
    if problems:
        raise ConfigErrors(problems)


def engine_options(options: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """`-o NAME=VALUE` as keys under `defaults.options` of the engine that Models have by default."""
    from corral.config.document import GivenText

    defaults = data.get("defaults")
    engine = defaults.get("engine", "llamacpp") if isinstance(defaults, dict) else "llamacpp"
    found: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.replace("_", "").replace("-", "").isalnum():
            raise UsageError(f"-o {option!r} is not NAME=VALUE.", hint="Write for example -o ctx_size=8192.")
        found[f"defaults.options.{engine}.{name.replace('-', '_')}"] = GivenText(value)
    return found
