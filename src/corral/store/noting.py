"""What a model's origin keeps of the plan that it came by, so that later nobody has to be asked what was meant."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from corral.contracts.fetching import Plan
from corral.domain.errors import StoreFailed
from corral.store.fetch import origin
from corral.store.fetch.disk import Beside, Disk, place
from corral.store.fetch.lock import lock
from corral.store.fetch.origin import Origin

_MOST_ASKED: Final = 16


def note(root: Path, plan: Plan) -> None:
    """Of a model that has come: what was asked for and what belongs to it. A store that is read-only keeps nothing."""
    folders, name = place(plan.files[0].path)
    beside = Beside.of(name)
    with contextlib.suppress(StoreFailed, OSError), Disk().folder(root, folders, make=False) as folder:
        said = origin.load(folder, beside)
        if said is None or _noted(said, plan) == said:
            return
        with lock(folder, beside) as mine:
            said = origin.load(folder, beside)
            if mine and said is not None:
                origin.save(folder, beside, _noted(said, plan))


def _noted(said: Origin, plan: Plan) -> Origin:
    asked = tuple(dict.fromkeys((*said.asked, *filter(None, [plan.asked]))))[-_MOST_ASKED:]
    return replace(said, asked=asked, companions=plan.companions)
