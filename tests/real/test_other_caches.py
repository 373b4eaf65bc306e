"""A Model served from another program's file, which that program removes while Corral runs."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from corral.domain.fleet import Source
from corral.domain.storage import StoreSpec
from tests.corrals import corral, gguf
from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.real.engines import binary_of
from tests.unit.store.shelf import kit


async def test_what_the_other_program_removes_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    binary = binary_of("embedded", monkeypatch)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    blob = kit.hub(tmp_path / "cache", "org/ada-GGUF", "ada-Q8_0.gguf", model(ADA)).resolve()
    place = tmp_path / "store/hf/org/ada-GGUF/ada-Q8_0.gguf"
    with HubServer() as hub:
        hub.repo("org/ada-GGUF", {"ada-Q8_0.gguf": model(ADA).read_bytes()})
        spec = dataclasses.replace(gguf(model(ADA), binary=binary), source=Source(reference="hf.co/org/ada-GGUF:Q8_0"))
        store = StoreSpec(str(tmp_path / "store"), endpoint=hub.endpoint, trusted=frozenset(hub.trusted))
        async with corral({"a": spec}, store=store) as running:
            assert await running.text("a") == ADA.sentence
            assert place.readlink() == blob and hub.paths("storage") == []
            await running.http.post("/api/corral/unload", json={"model": "a"})
            blob.unlink()
            lost = await running.chat("a")
            assert lost.status_code == 503 and str(place) in lost.json()["error"]["message"]
            await running.http.post("/api/corral/load", json={"model": "a"})
            assert await running.text("a") == ADA.sentence
            assert hub.paths("storage") and not place.is_symlink()
