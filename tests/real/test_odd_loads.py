"""Loads of few tokens and odd settings: weights and cache as they are told before, and as llama-server logs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from corral.domain.devices import RAM
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.measured import buffers_of
from corral.store.gguf.asked import reach
from corral.store.gguf.memory import FileFootprints
from tests.architectures import architecture
from tests.real.llama import BINARY, spec, started

ODD: dict[str, dict[str, OptionValue]] = {
    "shared": {},
    "apart": {"kv_unified": False},
    "whole windows, apart": {"swa_full": True, "kv_unified": False, "ctx_size": 9000},
    "small types": {"cache_type_k": "q5_1", "cache_type_v": "q5_1"},
    "cache in RAM, small batch": {"kv_offload": False, "ubatch_size": 64},
    "so much for each": {"kv_unified_per_slot": 1000},
    "the whole context": {"ctx_size": 0, "kv_unified_per_slot": 1000},
    "many slots": {"parallel": 100},
}
STRETCHES: dict[str, dict[str, OptionValue]] = {
    "no scaling": {},
    "linear": {"rope_scaling": "linear", "rope_scale": 2.0},
    "yarn": {"rope_scaling": "yarn", "rope_scale": 2.0},
    "yarn by frequency": {"rope_scaling": "yarn", "rope_freq_scale": 0.5},
    "yarn without a factor": {"rope_scaling": "yarn"},
    "yarn of another context": {"rope_scaling": "yarn", "rope_scale": 3.0, "yarn_orig_ctx": 16384},
}
SLOT = re.compile(r"n_ctx_slot = (\d+)")


def odd(name: str, **options: OptionValue) -> Any:
    """On a processor with AMX this build cannot rearrange the weights of every architecture."""
    return spec(architecture(name), BINARY, options={"parallel": 3, "warmup": False, "repack": False, **options})


@pytest.mark.llama_server
@pytest.mark.parametrize("settings", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("name", ["gemma3", "deepseek2", "granitehybrid"])
async def test_weights_and_cache_of_odd_loads(name: str, settings: dict[str, OptionValue], short_tmp: Path) -> None:
    small: dict[str, OptionValue] = {} if "kv_unified_per_slot" in settings else {"ctx_size": 1000}
    wanted = odd(name, **{**small, **settings})
    async with started(wanted, short_tmp) as running:
        found = FileFootprints().estimate(running.engine.resolved(wanted))
        await running.ready()
        log = await running.settled_log()
    said = buffers_of(log)
    assert said is not None and found.context is not None
    for told, logged in ((found.weights, said.weights), (found.cache, said.cache)):
        assert abs(told[RAM] - logged[RAM]) <= 0.05 * logged[RAM], (told, logged)
    (slot,) = SLOT.findall("\n".join(log))
    assert int(slot) == settings.get("kv_unified_per_slot", found.context.cells)


@pytest.mark.llama_server
@pytest.mark.parametrize("options", STRETCHES.values(), ids=STRETCHES.keys())
async def test_one_request_has_no_more_than_the_trained_context(
    options: dict[str, OptionValue], short_tmp: Path
) -> None:
    """What `corral models fit` says of contexts beyond it."""
    wanted = odd("llama", ctx_size=65536, parallel=1, cache_type_k="q8_0", cache_type_v="q8_0", **options)
    async with started(wanted, short_tmp) as running:
        assert (await running.ready()).context_tokens == reach(32768, options)
