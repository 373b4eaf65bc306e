"""The Corral that a command works with: the one that runs, or one of its own for as long as the command lasts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from corral.cli import connect, private, reading
from corral.cli.usage import UsageError
from corral.domain import names as naming
from corral.domain.fleet import ModelSpec


@dataclass(frozen=True, slots=True)
class Serving:
    """
    A Corral that answers, and what the Models that were asked for are called there.

    Of a Corral that ran already the names are as they were given, and `models` is None: only it knows what it serves.
    """

    corral: connect.Corral
    names: list[str]
    models: Mapping[str, ModelSpec] | None = None


@contextlib.contextmanager
def serving(
    wanted: Sequence[str], engine_options: Sequence[str], *, server: str, key: str, state_dir: str, config: str
) -> Iterator[Serving]:
    """
    Model files get a Corral of their own, with these options; Models that of --server, the one that runs, or one for
    the config. Names and files are checked before one is started: to be told of a mistake nobody needs a server.
    """
    files = [name for name in wanted if not server and (name.lower().endswith(".gguf") or os.path.isfile(name))]
    if files and len(files) < len(wanted):
        raise UsageError("Give model files or Models of a Corral, not both: files are served by a Corral of their own.")
    if files:
        models = reading.read(files=files, options=engine_options).settings.fleet.models
        extra = [word for option in engine_options for word in ("-o", option)]
        with private.started([*extra, "--", *map(os.path.abspath, files)]) as corral:
            yield Serving(corral, [*models], models)
        return
    if engine_options:
        raise UsageError("-o is for model files; a Model's options are in the config.")
    corral = connect.find(server=server, key=key, state_dir=state_dir, config=config)
    if server or corral.running():
        yield Serving(corral, list(wanted))
        return
    file = reading.find_file(config)
    if not file:
        raise connect.NotRunning(
            f"No Corral runs here, and there is no config that could say what {wanted[0]!r} is.",
            hint="Give a .gguf file, or start one: corral serve.",
        )
    models = reading.read(config, with_store=True).settings.fleet.models
    own = [naming.resolve(name, naming.directory(models.values())) for name in wanted]
    with private.started(["--config", file]) as corral:
        yield Serving(corral, own, models)
