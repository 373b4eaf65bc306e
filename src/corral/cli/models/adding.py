"""A fetched model as a Model of the config file; comments and everything else in it stay."""

from __future__ import annotations

import os
from typing import Any

from corral.cli import output, reading
from corral.contracts.fetching import Fetched, Plan, Role
from corral.domain.errors import ConfigError, Conflict
from corral.domain.names import MODEL_NAME
from corral.domain.references import HubReference, OllamaReference, means_same
from corral.store.sources.planning import exact


def add_model(config: str, name: str, plan: Plan, fetched: Fetched, *, projector: bool) -> None:
    """
    Write it; that no `projector` is wanted too, so that none is fetched later.

    Raises Conflict where another Model has the name, ConfigError(s) where the config does not take it.
    """
    from corral.config import editing, write
    from corral.config.load import load_document

    if not MODEL_NAME.match(name):
        raise ConfigError(f"{name!r} cannot be the name of a Model.", hint="Give another: --name NAME.")
    path = reading.find_file(config)
    if not path:
        raise ConfigError(
            "there is no config file to add the Model to; its files are in the store.",
            hint="`corral config init` writes one.",
        )
    loaded = reading.read(config)
    value = _model(plan, fetched, projector)
    there = loaded.settings.fleet.models.get(name)
    if there is not None:
        same = means_same(there.source.reference, exact(plan)) and there.source.pictures == projector
        if same or there.source.path == str(fetched.model):
            output.note(f"corral: {path} has {name} already.")
            return
        raise Conflict(f"{path} has another Model {name}.", hint="Give another name: --name NAME.")

    def check(document: Any) -> None:
        load_document(document, engines=reading.engines(), env=os.environ, cwd=os.getcwd())

    change = editing.Change(("models", name), value)
    edit = editing.plan_change(path, change, check=check)
    write.replace(edit.file, edit.before, edit.after)
    output.note(f"corral: added the Model {name} to {edit.file}; `corral serve` serves it, SIGHUP tells one that runs.")


def _model(plan: Plan, fetched: Fetched, projector: bool) -> dict[str, Any]:
    """By its reference, so that the file serves on other machines too; an address may be secret, and stays out."""
    by_role = dict(zip((each.role for each in plan.files), fetched.paths, strict=False))
    if isinstance(plan.reference, HubReference | OllamaReference):
        reference = str(exact(plan))
        return {"source": reference if projector else {"ref": reference, "mmproj": "none"}}
    value: dict[str, Any] = {"source": str(fetched.model)}
    beside = by_role.get(Role.PROJECTOR)
    if beside is not None and beside != fetched.model:
        value["options"] = {"mmproj": str(beside)}
    return value
