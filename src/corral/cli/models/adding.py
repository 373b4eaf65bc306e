"""A fetched model as a Model of the config file; comments and everything else in it stay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from corral.cli import output, reading
from corral.contracts.fetching import Fetched, Role
from corral.domain.errors import ConfigError, Conflict
from corral.domain.names import MODEL_NAME
from corral.domain.references import HubReference, OllamaReference, means_same
from corral.store.sources.planning import exact

if TYPE_CHECKING:
    from corral.config.editing import EditPlan


def add_model(config: str, name: str, fetched: Fetched, *, projector: bool, sha256: str) -> None:
    """
    Write it; that no `projector` is wanted too, so that none is fetched later, and the hash that its file must have.

    Raises Conflict where another Model has the name, ConfigError(s) where the config does not take it.
    """
    from corral.config import write

    edit = planned(config, name, fetched, projector=projector, sha256=sha256)
    if edit is None:
        output.note(f"corral: {reading.find_file(config)} has {name} already.")
        return
    write.replace(edit.file, edit.before, edit.after)
    output.note(f"corral: added the Model {name} to {edit.file}; `corral serve` serves it, SIGHUP tells one that runs.")


def planned(config: str, name: str, fetched: Fetched, *, projector: bool, sha256: str) -> EditPlan | None:
    """
    What would be written; None where it stands there. Its files need not be here yet: whether it can be written is
    known before hours of fetching.
    """
    from corral.config import editing
    from corral.config.load import load_document

    if not MODEL_NAME.match(name):
        raise ConfigError(f"{name!r} cannot be the name of a Model.", hint="Give another: --name NAME.")
    path = reading.find_file(config)
    if not path:
        raise ConfigError("there is no config file to add the Model to.", hint="`corral config init` writes one.")
    loaded = reading.read(config)
    value = _model(fetched, projector, sha256)
    there = loaded.settings.fleet.models.get(name)
    if there is not None:
        same = means_same(there.source.reference, exact(fetched.plan)) and there.source.pictures == projector
        if (same and sha256 in ("", there.source.sha256)) or there.source.path == str(fetched.model):
            return None
        raise Conflict(f"{path} has another Model {name}.", hint="Give another name: --name NAME.")

    def check(document: Any) -> None:
        load_document(document, engines=reading.engines(), env=os.environ, cwd=os.getcwd())

    change = editing.Change(("models", name), value)
    return editing.plan_change(path, change, check=check)


def _model(fetched: Fetched, projector: bool, sha256: str) -> dict[str, Any]:
    """By its reference, so that the file serves on other machines too; an address may be secret, and stays out."""
    plan = fetched.plan
    by_role = dict(zip((each.role for each in plan.files), fetched.paths, strict=False))
    if isinstance(plan.reference, HubReference | OllamaReference):
        reference = str(exact(plan))
        more = ({} if projector else {"mmproj": "none"}) | ({"sha256": sha256} if sha256 else {})
        return {"source": {"ref": reference, **more} if more else reference}
    value: dict[str, Any] = {"source": str(fetched.model)}
    beside = by_role.get(Role.PROJECTOR)
    if beside is not None and beside != fetched.model:
        value["options"] = {"mmproj": str(beside)}
    return value
