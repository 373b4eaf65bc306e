"""What is in the store afterwards, of what a hub had: chosen for this very reference, and with its projector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Progress
from corral.domain.fleet import Source
from corral.domain.storage import StoreSpec
from corral.store.supply import StoreSupply, store_supply
from tests.hub_server import HubServer
from tests.models import ADA, BEN, model

REPO = "hf.co/org/ada-GGUF"
EYE = "mmproj-F16.gguf"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as hub:
        ada, ben = model(ADA).read_bytes(), model(BEN).read_bytes()
        hub.repo("org/ada-GGUF", {"sub/ada-UD-Q4_K_M.gguf": ada, "sub/ada-Q8_0.gguf": ben, EYE: ben})
        yield hub


def supply(hub: HubServer, home: Path, **settings: Any) -> StoreSupply:
    spec = StoreSpec(str(home / "store"), endpoint=hub.endpoint, trusted=frozenset(hub.trusted), **settings)
    return store_supply(spec, {"HOME": str(home)})


def quiet(progress: Progress) -> None:
    pass


@pytest.mark.parametrize("asked", [":Q4_K_M", "/ada-ud-q4_k_m.gguf", "/sub/ada-UD-Q4_K_M.gguf"])
def test_what_a_reference_has_brought_is_here_for_it(hub: HubServer, tmp_path: Path, asked: str) -> None:
    source = Source(reference=REPO + asked)
    brought = supply(hub, tmp_path).bring(source, quiet, lambda: False)
    assert brought.path.endswith("/sub/ada-UD-Q4_K_M.gguf")
    assert supply(hub, tmp_path, offline=True).bring(source, quiet, lambda: False) == brought


def test_a_projector_that_was_left_out_comes_when_it_is_wanted(hub: HubServer, tmp_path: Path) -> None:
    blind, seeing = Source(reference=f"{REPO}:Q8_0", pictures=False), Source(reference=f"{REPO}:Q8_0")
    online, offline = supply(hub, tmp_path), supply(hub, tmp_path, offline=True)
    without = online.bring(blind, quiet, lambda: False)
    assert (without.projector, online.here(blind), online.here(seeing)) == ("", without, None)
    assert offline.bring(seeing, quiet, lambda: False).path == without.path, "what is here is taken"
    no_leave = Source(reference=f"{REPO}:Q8_0", auto_download=False)
    assert online.bring(no_leave, quiet, lambda: False).path == without.path
    found = online.bring(seeing, quiet, lambda: False)
    assert found.projector == str(tmp_path / "store/hf/org/ada-GGUF" / EYE)
    assert offline.here(seeing) == found
    Path(found.projector).unlink()
    assert online.here(seeing) is None


def test_at_the_operators_place_too(hub: HubServer, tmp_path: Path) -> None:
    place = str(tmp_path / "mine/a.gguf")
    supply(hub, tmp_path).bring(Source(reference=f"{REPO}:Q8_0", place=place, pictures=False), quiet, lambda: False)
    found = supply(hub, tmp_path).bring(Source(reference=f"{REPO}:Q8_0", place=place), quiet, lambda: False)
    assert found.projector == str(tmp_path / "mine/a.mmproj.gguf")
