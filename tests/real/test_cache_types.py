"""Cache types that a model cannot have: what its header says before a start, and what llama-server does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.engines.llamacpp import LlamaCppEngine
from corral.store.gguf.reader import read_header
from tests.architectures import architecture, with_heads
from tests.real.llama import BINARY, spec, started

SMALL: dict[str, Any] = {"ctx_size": 512, "parallel": 1, "warmup": False}
WELL, REFUSED = True, False
LOADS = [
    ((80, 2), {"cache_type_k": "q4_0"}, REFUSED),
    ((80, 2), {"cache_type_v": "q8_0"}, REFUSED),
    ((80, 2), {"cache_type_k": "bf16", "cache_type_v": "f32"}, WELL),
    ((80, 2), {"cache_type_k": "q4_0", "flash_attn": "off"}, WELL),
    ((80, 1), {"cache_type_k": "q4_0", "flash_attn": "off"}, REFUSED),
    ((64, 1), {"cache_type_k": "iq4_nl", "cache_type_v": "q5_1", "flash_attn": "on"}, WELL),
    ("deepseek2", {"cache_type_k": "q8_0"}, REFUSED),
    ("deepseek2", {"cache_type_k": "bf16", "cache_type_v": "f16"}, REFUSED),
    ("deepseek2", {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, WELL),
    ("mamba2", {"cache_type_k": "q8_0", "cache_type_v": "q8_0"}, WELL),
]


@pytest.mark.llama_server
@pytest.mark.parametrize(("model", "options", "well"), LOADS)
async def test_what_is_refused_before_a_start_would_not_run(
    model: str | tuple[int, int], options: dict[str, Any], well: bool, short_tmp: Path
) -> None:
    path = architecture(model) if isinstance(model, str) else with_heads(*model)
    # On a processor with AMX this build cannot rearrange the weights of every one of these.
    wanted = spec(path, BINARY, options={**SMALL, **options, "repack": False})
    assert (LlamaCppEngine(headers=read_header).misfits(wanted) == []) is well
    async with started(wanted, short_tmp) as engine:
        if well:
            await engine.ready()
            status, _ = await engine.post("/completion", {"prompt": "one two three", "n_predict": 2})
            assert status == 200
        else:
            with pytest.raises(StartFailed):
                await engine.ready()
