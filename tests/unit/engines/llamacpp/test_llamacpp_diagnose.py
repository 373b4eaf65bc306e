# ruff: noqa: E501
"""diagnose: log lines as llama-server b11434 wrote them (times cut), or as its source has them, become sentences."""

from __future__ import annotations

import signal

import pytest

from corral.domain.launch import ExitKind, ExitStatus
from corral.engines.llamacpp.diagnose import diagnose, last_meaningful

FAILED = ExitStatus(ExitKind.EXITED, code=1)
AFTER = [
    "0.00.006.642 E llama_model_load_from_file_impl: failed to load model",
    "0.00.006.981 E cmn  common_init_: failed to load model 'm.gguf'",
    "0.00.007.480 E srv  llama_server: exiting due to model loading error",
]


@pytest.mark.parametrize(
    ("line", "says", "fix"),
    [
        ("error: invalid argument: --mlock", "does not know the flag --mlock", "args"),
        ('error while handling argument "--draft": the argument has been removed. use --spec-draft-n-max or x',
         "lost the flag --draft: use --spec-draft-n-max", "new flag"),
        ('error while handling argument "--ctx-size": expected value for argument', "--ctx-size needs a value", "args"),
        ('error while handling argument "-dev": invalid device: CUDA0', "sees no device CUDA0", "--list-devices"),
        ("E gguf_init_from_reader: invalid magic characters: 'XXXX', expected 'GGUF'", "not GGUF", "Download"),
        ("E gguf_init_from_reader: this GGUF file is version 99 but this software only supports up to version 3",
         "GGUF version 99", "newer"),
        ("E gguf_init_from_reader: string length 9 exceeds remaining file size of 4 bytes", "not whole", "Download"),
        ("E gguf_init_from_reader: failed to read key-value pairs", "not whole", "Download"),
        ("E llama_model_load: error loading model: tensor 'blk.0.attn_k.weight' data is not within the file bounds, "
         "model is corrupted or incomplete", "not whole", "Download"),
        ("E gguf_init_from_file: failed to open GGUF file '/m.gguf' (Permission denied)",
         "/m.gguf cannot be opened: Permission denied", "owner and mode"),
        ("E llama_model_load: error loading model: illegal split file idx: 1 (file: m.gguf), model must be loaded with "
         "the first split", "later part", "part 1"),
        ("E llama_model_load: error loading model: llama_model_loader: failed to load GGUF split from /m-2.gguf",
         "cannot be opened: /m-2.gguf", "folder"),
        ("E llama_model_load: error loading model: invalid split file name: x.gguf", "belong together", "cat"),
        ("E llama_model_load: error loading model: missing key split.no in GGUF split x", "belong together", "cat"),
        ("E llama_model_load: error loading model: unknown model architecture: 'lxxma'", "architecture 'lxxma'", "newer"),
        ("E llama_model_load: error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'zed'",
         "tokenizer 'zed'", "newer"),
        ("E llama_model_load: error loading model: error loading model hyperparameters: key not found in model: "
         "llama.block_count", "entry llama.block_count", "mmproj"),
        ("E llama_model_load: error loading model: check_tensor_dims: tensor 'blk.1.attn_q.weight' not found",
         "tensor is missing", "newer"),
        ("E llama_model_load: error loading model: corrupted model: 291 tensors expected but 290 found", "290 of 291",
         "Download"),
        ("E llama_init_from_model: quantized V cache requires flash_attn to be enabled", "needs flash attention",
         "flash_attn"),
        ("E llama_init_from_model: failed to initialize the context: quantized V cache was requested, but this requires "
         "Flash Attention", "needs flash attention", "flash_attn"),
        ("E llama_init_from_model: V cache type q8_0 with block size 32 does not divide n_embd_head_v=16",
         "V cache cannot be q8_0", "f16"),
        ("E llama_init_from_model: failed to initialize the context: n_seq_max must be <= 256", "at most 256 slots",
         "parallel"),
        ("E srv    load_model: failed to load draft model, '/d.gguf'", "draft model /d.gguf", "model_draft"),
        ("E common_speculative_are_compatible: the target and draft vocabs are not compatible", "another vocabulary",
         "same family"),
        ("E srv    load_model: failed to load multimodal model, '/p.gguf'", "projector", "mmproj"),
        ("E llama_adapter_lora_init_from_file_ptr: failed to apply lora adapter: expect general.type to be 'adapter'",
         "LoRA", "adapter"),
        ("error: the supplied chat template is not supported: {{ foo", "chat template", "chat_template"),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: allocating 24000.00 MiB on device 0: cudaMalloc failed: out of "
         "memory", "GPU memory is full: device 0 could not give 24000.00 MiB", "n_gpu_layers"),
        ("CUDA error: out of memory", "GPU memory is full", "n_gpu_layers"),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", "GPU memory is full", "n_gpu_layers"),
        ("E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache", "KV cache",
         "ctx_size"),
        ("E llama_init_from_model: failed to allocate compute pp buffers", "not enough memory to compute", "ubatch_size"),
        ("E llama_model_load: error loading model: unable to allocate CUDA0 buffer", "not enough memory", "quantisation"),
        ("E llama_init_from_model: failed to initialize the context: std::bad_alloc", "not enough memory", "ctx_size"),
        ("E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080", "127.0.0.1 (port 8080)",
         "Try again"),
        ("E srv         start: couldn't bind HTTP server socket, hostname: /x/e.sock, port: 8080", "socket /x/e.sock",
         "Try again"),
        ("E ggml_aligned_malloc: insufficient memory (attempted to allocate 1000.02 MB)", "1000.02 MB in one piece",
         "quantisation"),
        ("E llama_model_load: error loading model: CLIP cannot be used as main model, use it with --mmproj instead",
         "projector, not a model", "as the source"),
        ("E llama_model_load: error loading model: unknown model architecture: 'controlvector'",
         "control vector, not a model", "control_vector"),
        ("E failed to parse grammar", "grammar cannot be read", "root"),
        ("E worker: json_schema_to_grammar: [json.exception.parse_error.101] parse error", "schema cannot be read: [json",
         "json_schema_file"),
        ('error while handling argument "--override-tensor": unknown buffer type', "no buffer type", "CPU"),
        ("E common_speculative_init_result: failed to create MTP context", "no layers that draft", "model_draft"),
        ("/x/ggml/src/ggml.c:3354: GGML_ASSERT(ggml_can_mul_mat(a, b)) failed", "cannot lay out", "multiple of `parallel`"),
        ('speculative.cpp:1033: GGML_ASSERT(target_layer_ids_n > 0 && "DFlash model has no target_layer_ids") failed',
         "not of the kind", "spec_type"),
        ("/x/speculative.cpp:2171: Couldn't read dynamic lookup cache", "lookup cache cannot be read",
         "lookup_cache_dynamic"),
        ("E common_init_: failed to load lora adapter '/l.gguf'", "LoRA adapter cannot be applied", "made for it"),
        ("llama-server: error while loading shared libraries: libcudart.so.12: cannot open shared object file",
         "libcudart.so.12 is missing", "LD_LIBRARY_PATH"),
        ("ModuleNotFoundError: No module named 'xllamacpp'", "embedded engine is not installed", "corral[embedded]"),
    ],
)  # fmt: skip
def test_a_known_string_becomes_a_sentence_and_a_fix(line: str, says: str, fix: str) -> None:
    stamped = line if line.startswith(("error", "llama-server")) else "0.00.006.616 " + line
    error = diagnose(FAILED, ["0.00.001.000 I srv  load_model: loading model 'm.gguf'", stamped, *AFTER])
    assert says in error.message and fix in error.hint
    assert error.message.endswith(".") and error.hint.endswith(".")
    assert stamped in error.log_tail


def test_memory_may_come_back_but_a_bad_file_does_not() -> None:
    no_room = diagnose(FAILED, ["failed to allocate buffer for kv cache"])
    assert no_room.memory and not no_room.permanent
    assert diagnose(ExitStatus(ExitKind.OOM_KILLED, signal=9), []).memory
    assert not diagnose(FAILED, ["unknown model architecture: 'x'"]).memory
    assert diagnose(FAILED, ["unknown model architecture: 'x'"]).permanent


def test_the_cause_stands_before_its_consequences() -> None:
    log = [
        "0.00.013.859 E gguf_init_from_reader: invalid magic characters: 'XXXX', expected 'GGUF'",
        "0.00.013.897 E srv    load_model: failed to load draft model, '/d.gguf'",
    ]
    assert "draft model /d.gguf" in diagnose(FAILED, log).message


@pytest.mark.parametrize(
    ("exit", "log", "says", "fix"),
    [
        (ExitStatus(ExitKind.OOM_KILLED, signal=9), [], "memory", "ctx_size"),
        (ExitStatus(ExitKind.OOM_KILLED, signal=9), ["invalid magic characters: 'x'"], "memory", "ctx_size"),
        (ExitStatus(ExitKind.SIGNALLED, signal=9), ["loading"], "SIGKILL", "memory"),
        (ExitStatus(ExitKind.SIGNALLED, signal=int(signal.SIGSEGV)), [], "SIGSEGV", "repack"),
        (ExitStatus(ExitKind.SIGNALLED, signal=int(signal.SIGILL)), [], "instructions", "built for this machine"),
        (ExitStatus(ExitKind.SIGNALLED, signal=int(signal.SIGABRT)),
         ["I system_info: AMX_INT8 = 1 | REPACK = 1", "ggml.c:12: GGML_ASSERT(x) failed"], "known cause",
         "Set options.repack to false"),
        (ExitStatus(ExitKind.SIGNALLED, signal=int(signal.SIGABRT)), ["I system_info: REPACK = 1"], "SIGABRT", "Try"),
        (ExitStatus(ExitKind.SIGNALLED, signal=250), [], "signal 250", ""),
        (ExitStatus(ExitKind.STOPPED), ["error: invalid argument: x"], "was stopped", ""),
        (ExitStatus(ExitKind.LOST), [], "nobody saw why", "system log"),
        (ExitStatus(ExitKind.EXITED, code=127), ["sh: not found"], "could not be run", "binary"),
        (ExitStatus(ExitKind.EXITED, code=3), ["I a", "0.00.01.2 I what now"], "code 3", ""),
        (ExitStatus(ExitKind.EXITED, code=3), [], "It said nothing", ""),
        (None, ["0.00.012.000 I load_tensors: loading model tensors"],
         "not become ready in time. It last said: load_tensors: loading", "timeout"),
    ],
)  # fmt: skip
def test_without_a_known_string_it_is_told_how_it_ended(
    exit: ExitStatus | None, log: list[str], says: str, fix: str
) -> None:
    error = diagnose(exit, log)
    assert says in error.message and fix in error.hint


def test_what_a_debugger_says_is_no_last_word() -> None:
    log = [
        "/x/ggml.c:12: GGML_ASSERT(a > 0) failed",
        "[New LWP 7]",
        "#0  0x00007f in wait4 () from /lib/x86_64-linux-gnu/libc.so.6",
        "[Inferior 1 (process 20638) detached]",
    ]
    assert last_meaningful(log) == "/x/ggml.c:12: GGML_ASSERT(a > 0) failed"


def test_a_file_named_after_an_adapter_is_no_adapter() -> None:
    log = ["E common_init_: failed to load model '/models/lora-llama.gguf'", "unknown model architecture: 'x'"]
    assert "architecture 'x'" in diagnose(FAILED, log).message


def test_the_last_error_line_is_what_it_last_said() -> None:
    log = [
        "0.00.01.234 E gguf: something new went wrong",
        *AFTER,
        "0.00.015.000 I srv operator(): cleaning up before exit...",
    ]
    assert last_meaningful(log) == "gguf: something new went wrong"
    assert diagnose(FAILED, log).message.endswith("It last said: gguf: something new went wrong")


def test_the_tail_is_bounded() -> None:
    error = diagnose(FAILED, [f"line {number} " + "x" * 5000 for number in range(100)])
    assert len(error.log_tail) == 20 and error.log_tail[-1].startswith("line 99")
    assert max(map(len, error.log_tail)) <= 500 and len(error.message) < 500
