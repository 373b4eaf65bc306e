"""What the scheduler counts for a real engine once it was measured: its cache too, of which nothing was touched yet."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from corral.domain.fleet import OptionValue
from corral.scheduler import memory as acts
from tests.corrals import corral, gguf
from tests.models import ADA, model

MIB = 1024**2


@pytest.mark.parametrize("quiet", [{}, {"verbosity": 2}], ids=["tells", "quiet"])
async def test_a_cache_counts_before_it_is_filled(
    quiet: dict[str, OptionValue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MEASURE_S", (0.2, 60.0))
    ada = gguf(model(ADA))
    ada = dataclasses.replace(ada, options={**ada.options, "ctx_size": 262_144, **quiet})
    async with corral({"a": ada}) as running:
        await running.text("a")
        (view,) = running.app.scheduler.views()
        expected, seen = view.devices["ram"], None
        async with asyncio.timeout(20):
            while seen is None:
                await asyncio.sleep(0.05)
                seen = running.app._footprints.seen(view.digest)
        (view,) = running.app.scheduler.views()
    assert expected > 256 * MIB + 512 * MIB, "a cache of 256 MiB, and 512 of finished prompts"
    assert abs(seen.measured.ram_bytes - expected) < 0.1 * expected
    assert view.devices["ram"] == seen.measured.ram_bytes
