"""`corral config ...`: look at the configuration, check it, begin one. What changes it is in `changing`."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from corral.cli import changing, checking, options, output, reading
from corral.cli.usage import UsageError


def build() -> typer.Typer:
    """The command group."""
    app = typer.Typer(
        help="Look at the configuration, check it, change it.", no_args_is_help=True, rich_markup_mode=None
    )
    app.command("init")(init)
    app.command("show")(show)
    app.command("path")(path)
    app.command("validate")(validate)
    app.command("explain")(explain)
    app.command("get")(changing.get)
    app.command("set", context_settings={"ignore_unknown_options": True})(changing.set_)  # -1 is a value
    app.command("edit")(changing.edit)
    app.command("schema")(schema)
    return app


class Profile(StrEnum):
    """The kinds of machine that a starter file is made for."""

    CPU = "cpu"
    GPU = "gpu"
    STRIX_HALO_CPU = "strix-halo-cpu"


def init(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="Default: ./corral.yaml.")] = "",
    profile: Annotated[
        Profile | None, typer.Option("--profile", show_default=False, help="The machine that it is for.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a starter file with comments."""
    from corral.config import paths, profiles, write

    target = file or paths.CONFIG_NAME
    if target.lower().endswith(".toml"):
        raise UsageError("The starter file is YAML; name it .yaml.")
    write.write_new(target, profiles.PROFILES[profile.value] if profile else profiles.STARTER, force=force)
    print(f"Wrote {target}. Add your Models to it, then `corral config validate` and `corral serve`.")


def show(config: options.Config = "", as_json: options.Json = False) -> None:
    """Show the configuration as it counts, without secrets."""
    from corral.config import explain as explaining

    data = explaining.shown_config(reading.read(config).config)
    if as_json:
        output.print_json(data)
        return
    import yaml

    print(yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100), end="")


def path(config: options.Config = "", as_json: options.Json = False) -> None:
    """Show which config files are read."""
    from corral.config import files, paths

    found = reading.find_file(config)
    read = files.parts_of(found) if os.path.isdir(found) else [found] if found else []
    places = paths.candidates(config, os.environ, os.getcwd())
    if as_json:
        looked = [{"path": place, "why": why, "exists": os.path.exists(place)} for place, why in places]
        output.print_json({"path": found or None, "files": read, "looked_at": looked})
    elif found:
        print("\n".join(read))
    else:
        output.note("corral: there is no config file. Looked at:")
        for place, why in places:
            output.note(f"corral:   {place} ({why})")
    if not found:
        raise typer.Exit(1)


def validate(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="Default: the one that counts.")] = "",
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Check the configuration; nothing is started."""
    from corral.config.problems import ConfigErrors
    from corral.store.supply import resolved, store_supply

    try:
        loaded = reading.read(file or config)
    except ConfigErrors as error:
        if as_json:
            rows = [
                {"file": found.file, "line": found.line, "key": found.key, "message": found.message, "hint": found.hint}
                for found in error.problems
            ]
            output.print_json({"valid": False, "problems": rows})
            raise typer.Exit(1) from None
        raise
    fleet = resolved(loaded.settings.fleet, store_supply(loaded.settings.store, os.environ))
    warnings = list(loaded.settings.warnings)
    warnings += checking.warnings(fleet, reading.engines())
    if as_json:
        output.print_json(
            {"valid": True, "file": loaded.file or None, "models": list(fleet.models), "warnings": warnings}
        )
        return
    for warning in warnings:
        output.note(f"corral: warning: {warning}")
    count = len(fleet.models)
    what = loaded.file or "The configuration (no file, defaults only)"
    print(f"{what} is valid: {count} Model{'' if count == 1 else 's'}.")


def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A dotted key, such as server.port or models.coder.ttl.")],
    config: options.Config = "",
    as_json: options.Json = False,
) -> None:
    """Show what a key is, and where its value comes from."""
    import json

    from corral.config import explain as explaining

    loaded = reading.read(config)
    found = explaining.explain(loaded, key, tables={name: engine.options for name, engine in reading.engines().items()})
    if as_json:
        output.print_json({"key": found.key, "value": found.value, "origin": found.origin, "help": found.help})
        return
    value = "(not set)" if found.value is None else json.dumps(found.value, ensure_ascii=False, default=str)
    print(f"{found.key} = {value}")
    print(f"from: {found.origin}")
    if found.help:
        print(found.help)


def schema() -> None:
    """Print the JSON Schema of the config file."""
    from corral.config import jsonschema

    sys.stdout.write(jsonschema.dumps({name: engine.options for name, engine in reading.engines().items()}))
