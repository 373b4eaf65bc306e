"""
The walk from a config file to Settings: read, lay over, fill in, check, compile.

The result is whole, or ConfigErrors says everything that is wrong; a caller that has a good config keeps it.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from corral.config import overrides, templates
from corral.config.base import Base, EngineRules
from corral.config.compile import check_parts, compile_config
from corral.config.document import Document
from corral.config.files import read_file
from corral.config.overrides import Override
from corral.config.problems import Keys, Problems
from corral.config.schema import Config
from corral.config.sentences import add_errors, keys_of
from corral.config.settings import Settings
from corral.config.stored import Stored

FREE_PREFIX: Final = "x-"
"""Keys of the top that begin with this mean nothing: a place for anchors, and for values that templates name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config with all that is known of it. `lines`, `owners` and `places` say where each value came from."""

    config: Config
    settings: Settings
    file: str
    lines: Mapping[Keys, int] = field(default_factory=dict)
    owners: Mapping[Keys, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    places: Mapping[Keys, str] = field(default_factory=dict)


def load(
    file: str,
    *,
    engines: Mapping[str, EngineRules],
    env: Mapping[str, str],
    command_line: Mapping[str, Any] | None = None,
    cwd: str = "",
) -> Settings:
    """
    The Settings of this config file ("" = none, defaults only). Raises ConfigErrors.

    `command_line` has dotted keys: `{"server.port": 8080}`.
    """
    return load_all(file, engines=engines, env=env, command_line=command_line, cwd=cwd).settings


def load_all(
    file: str,
    *,
    engines: Mapping[str, EngineRules],
    env: Mapping[str, str],
    command_line: Mapping[str, Any] | None = None,
    cwd: str = "",
) -> Loaded:
    """The same with the checked Config and the place of every value."""
    document = read_file(file) if file else Document()
    return load_document(document, engines=engines, env=env, command_line=command_line, cwd=cwd)


def load_document(
    document: Document,
    *,
    engines: Mapping[str, EngineRules],
    env: Mapping[str, str],
    command_line: Mapping[str, Any] | None = None,
    cwd: str = "",
    stored: Stored | None = None,
) -> Loaded:
    """The same for a document that is already read. `stored` knows what is in the store, for `store.serve`."""
    problems = Problems(document.file, document.lines, document.owners)
    laid_over = _lay_over(document, env, command_line or {}, problems)
    expanded = templates.expand(document, env, problems, fixed=frozenset(over.keys for over in laid_over))
    tables = {name: engine.options for name, engine in engines.items()}
    known = {key: value for key, value in expanded.data.items() if not key.startswith(FREE_PREFIX)}
    outside = {over.keys for over in laid_over}
    base = Base(
        config_file=os.path.abspath(document.file) if document.file else "",
        folder=os.path.abspath(os.path.dirname((document.parts or (document.file,))[0])),
        cwd=cwd or os.getcwd(),
        env=env,
        literal=frozenset(document.literal),
        from_outside=lambda keys: any(keys[: len(known)] == known for known in outside),
    )
    try:
        config = Config.model_validate(known)
    except ValidationError as error:
        add_errors(error, problems, tables)
        rest, broken = _what_parses(known, error)
        if rest is not None:
            check_parts(rest, broken, engines=engines, base=base, problems=problems)
        problems.raise_any()
        raise AssertionError("a schema error without a problem") from error
    settings = compile_config(config, engines=engines, base=base, problems=problems, stored=stored)
    problems.raise_any()
    settings = dataclasses.replace(settings, hidden_env=expanded.server_env)
    return Loaded(
        config, settings, document.file, document.lines, document.owners, document.parts, dict(problems.places)
    )


def _what_parses(data: Mapping[str, Any], error: ValidationError) -> tuple[Config | None, frozenset[Keys]]:
    """The Config without the keys that the schema refuses, and these keys: so that the rest can be checked too."""
    left = copy.deepcopy(dict(data))
    broken = {_cut(left, keys_of(found)) for found in error.errors(include_url=False)}
    try:
        return Config.model_validate(left), frozenset(broken)
    except ValidationError:
        return None, frozenset(broken)  # what is left needs what was cut out


def _cut(data: Any, keys: Keys) -> Keys:
    """Take the key out of the data, or the nearest one above it that can be; which one that was."""
    if keys[:1] == ("models",) and keys[2:3] == ("engine",):
        keys = keys[:2]  # without its engine nothing of the Model can be judged
    container, cut, depth = data, keys[:1], 0
    while isinstance(data, dict) and depth < len(keys) and keys[depth] in data:
        container, cut = data, keys[: depth + 1]
        data, depth = data[keys[depth]], depth + 1
    container.pop(cut[-1], None)  # a wrong item of a list takes the list with it
    return cut


def _lay_over(
    document: Document, env: Mapping[str, str], command_line: Mapping[str, Any], problems: Problems
) -> list[Override]:
    found, wrong = overrides.variables(env)
    for name, sentence in wrong:
        problems.places[(name,)] = name
        problems.add(sentence, keys=(name,))
    found += [
        Override(tuple(key.split(".")), value, overrides.COMMAND_LINE, command_line=True)
        for key, value in command_line.items()
    ]
    overrides.apply(document, found, problems)
    return found
