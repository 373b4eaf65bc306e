"""Every way in which llama-server is known to fail at its start has a sentence of its own, and something to do."""

from __future__ import annotations

import pytest

from corral.domain.launch import ExitKind, ExitStatus
from corral.engines.llamacpp.diagnose import diagnose

FAILED = ExitStatus(ExitKind.EXITED, code=1)
LOAD = "0.00.010.000 E llama_model_load: error loading model: "
SPLIT = "llama_model_loader: "
CONTEXT = "0.00.010.000 E llama_init_from_model: failed to initialize the context: "

KNOWN = {
    "error: invalid argument: --x": "--x",
    'error while handling argument "--x": the argument has been removed. use --y instead': "--y",
    'error while handling argument "--x": expected value for argument': "--x",
    "0.00.010.000 E gguf_init_from_reader: invalid magic characters: 'xxxx', expected 'GGUF'": "xxxx",
    "0.00.010.000 E gguf_init_from_reader: string length 9 exceeds remaining file size of 4 bytes": "ends too early",
    "0.00.010.000 E gguf_init_from_reader: string length 9 exceeds remaining file size 4 bytes": "ends too early",
    "0.00.010.000 E gguf_init_from_reader: failed to read key-value pairs": "ends too early",
    "0.00.010.000 E gguf_init_from_file: failed to open GGUF file '/m.gguf' (No such file or directory)": "/m.gguf",
    LOAD + "illegal split file idx: 1 (file: m.gguf), model must be loaded with the first split": "later part",
    LOAD + SPLIT + "invalid split file name: x.gguf": "do not belong together",
    LOAD + SPLIT + "failed to load GGUF split from m-00002-of-00003.gguf": "m-00002-of-00003.gguf",
    LOAD + SPLIT + "missing key split.no in GGUF split m.gguf": "do not belong together",
    LOAD + "invalid split file": "do not belong together",
    LOAD + "unknown model architecture: 'x'": "'x'",
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 10.00 MiB on device 0: cudaMalloc failed: out of memory":
        "device 0 could not give 10.00 MiB",
    LOAD + "unable to allocate CUDA0 buffer": "not enough memory",
    CONTEXT + "failed to allocate buffer for kv cache": "KV cache",
    CONTEXT + "failed to allocate compute pp buffers": "to compute",
    CONTEXT + "quantized V cache requires flash_attn to be enabled": "flash attention",
    CONTEXT + "V cache type q8_0 with block size 32 does not divide n_embd_head_v=80": "V cache cannot be q8_0",
    CONTEXT + "K cache type q4_0 with block size 32 does not divide n_embd_head_k=80": "K cache cannot be q4_0",
    CONTEXT + "model does not support different K (q8_0) and V (f16) cache types": "not q8_0 and f16",
    "0.00.010.000 E common_speculative_are_compatible: the target and draft vocabs are not compatible": "vocabulary",
    "0.00.010.000 E srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080": "port 8080",
}  # fmt: skip
HARMLESS = [
    "0.00.001.000 W srv  init: no API key is set and CORS allows all origins",
    "0.00.001.000 W srv  init: embeddings enabled with n_batch (2048) > n_ubatch (512)",
    "0.00.001.000 I srv  load_model: n_slots = 4, n_ctx_slot = 512, kv_unified = 'true'",
    "0.00.001.000 I srv  llama_server: model loaded",
    "0.00.001.000 I srv  llama_server: listening on http://127.0.0.1:8080",
]


@pytest.mark.parametrize(("line", "says"), KNOWN.items(), ids=[line[-60:] for line in KNOWN])
def test_a_string_that_is_known(line: str, says: str) -> None:
    error = diagnose(FAILED, [*HARMLESS, line, "0.00.020.000 E srv  llama_server: exiting due to model loading error"])
    assert says in error.message and error.hint
    assert "It last said" not in error.message, "no rule knows it"


@pytest.mark.parametrize("line", HARMLESS)
def test_what_every_start_may_say_is_no_reason(line: str) -> None:
    assert diagnose(FAILED, [line]).message.startswith("The engine ended with code 1 before it was ready.")


def test_a_string_that_nobody_knows_is_told_as_it_is() -> None:
    error = diagnose(FAILED, [*HARMLESS, "0.00.010.000 E srv  load_model: a new way to fail"])
    assert error.message.endswith("It last said: srv  load_model: a new way to fail")
