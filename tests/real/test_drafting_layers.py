"""
A model that drafts by layers of its own (MTP), with random weights: what it drafts is seldom right, but it drafts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.measured import buffers_of
from corral.store.gguf.memory import FileFootprints
from tests.architectures import DRAFTS, architecture
from tests.real.llama import BINARY, EMBEDDED, spec, started

SMALL: dict[str, OptionValue] = {"ctx_size": 4096, "parallel": 1, "threads": 1, "cache_ram": 0}
WAYS: dict[str, dict[str, OptionValue]] = {
    "none": {},
    "its own": {"spec_type": ("draft-mtp",)},
    "of a second file": {"spec_type": ("draft-mtp",), "model_draft": str(architecture(DRAFTS.name))},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "program", [pytest.param(EMBEDDED), pytest.param(BINARY, marks=pytest.mark.llama_server, id="binary")]
)
async def test_layers_draft_and_are_counted(way: str, program: str, short_tmp: Path) -> None:
    wanted = spec(architecture(DRAFTS.name), program, options={**SMALL, **WAYS[way]})
    async with started(wanted, short_tmp) as engine:
        estimate = FileFootprints().estimate(engine.engine.resolved(wanted))
        await engine.ready()
        _, answer = await engine.post("/completion", {"prompt": "a b c", "n_predict": 12, "ignore_eos": True})
        said = buffers_of(await engine.settled_log())
    assert said is not None
    assert (answer["timings"].get("draft_n", 0) > 0) is (way != "none")
    for estimated, real in ((estimate.weights[RAM], said.weights[RAM]), (estimate.cache[RAM], said.cache[RAM])):
        assert abs(estimated - real) < 0.05 * real, (estimated, real)
