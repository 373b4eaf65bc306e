"""
Why a start failed: a sentence, a fix, and the last lines of the log.

Strings of llama.cpp b11434 (`src/llama-model-loader.cpp`, `src/llama-context.cpp`, `common/arg.cpp`, `tools/server`);
most are as old as the project. The first rule that matches wins, so causes stand before their consequences.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from corral.domain.errors import StartFailed
from corral.domain.launch import ExitKind, ExitStatus

TAIL_LINES: Final = 20
_LINE_LIMIT: Final = 500
_PREFIX = re.compile(r"^(?:\d+\.\d+\.\d+\.\d+\s+)?(?:[IWED]\s+)?")
_NOISE = re.compile(
    r"cleaning up before exit|exiting due to model loading error|failed to load model|common_init_|common_fit_params"
    r"|Failed to init server|^\s*$|^usage:|to show complete usage"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A string in the log -> what it means. `\\1` or `{name}` groups of the pattern fill the texts."""

    pattern: re.Pattern[str]
    says: str
    fix: str
    permanent: bool = True  # the same start can never work


def _rule(pattern: str, says: str, fix: str, *, permanent: bool = True) -> Rule:
    return Rule(re.compile(pattern), says, fix, permanent)


RULES: Final[tuple[Rule, ...]] = (
    # flags and options
    _rule(r"error: invalid argument: (?P<flag>\S+)", "This llama-server does not know the flag {flag}.",
          "Remove it from `args`, or use a build that has it."),
    _rule(r'handling argument "(?P<flag>[^"]+)": the argument has been removed\. ?(?P<use>.*)',
          "This llama-server has lost the flag {flag}: {use}.", "Write the new flag, or use an older build."),
    _rule(r'handling argument "(?P<flag>[^"]+)": expected value', "The flag {flag} needs a value.",
          "Give it one in `args`."),
    _rule(r'handling argument "(?P<flag>[^"]+)": (?:error: )?(?P<why>.+)',
          "llama-server refuses the value of {flag}: {why}.", "Correct it in `options` or `args`."),
    _rule(r"supplied chat template is not supported|chat template parsing error",
          "llama-server cannot read the chat template.",
          "Correct chat_template, remove it to use the model's own, or try jinja: false with chat_template: chatml."),
    _rule(r"quantized V cache (?:requires flash_attn|was requested, but this requires Flash Attention)",
          "A quantised V cache needs flash attention, which is off or not possible for this model.",
          "Set flash_attn: on, or cache_type_v: f16."),
    _rule(r"(?P<half>[KV]) cache type (?P<type>\S+) with block size (?P<block>\d+) does not divide \S+?=(?P<size>\d+)",
          "The {half} cache cannot be {type} for this model: its heads of {size} values do not divide into blocks of "
          "{block}.", "Set cache_type_k and cache_type_v to f16 or bf16."),
    _rule(r"n_seq_max must be <= (?P<most>\d+)", "This build serves at most {most} slots.", "Lower `parallel`."),
    _rule(r"draft (?:and target )?(?:model )?vocabs?.*not compatible|target and draft vocabs are not compatible",
          "The draft model has another vocabulary than the model.",
          "Use a draft model of the same family, or remove model_draft."),
    _rule(r"failed to load draft model, '(?P<file>[^']*)'", "The draft model {file} cannot be loaded.",
          "Correct model_draft, or remove it."),
    _rule(r"failed to load multimodal model, '(?P<file>[^']*)'|mmproj.*(?:mismatch|not match)",
          "The multimodal projector (mmproj) cannot be loaded with this model.",
          "Use the mmproj file that was published with it."),
    _rule(r"failed to (?:apply|load|init).*lora|lora.*(?:mismatch|failed|not found)",
          "A LoRA adapter cannot be applied to this model.", "Use an adapter that was made for it."),
    _rule(r"not a directory: (?P<folder>.+)", "{folder} is not a folder.", "Create it, or correct slot_save_path."),
    # the file
    _rule(r"illegal split file idx: (?P<number>\d+).*must be loaded with the first split",
          "The file is a later part of a split model.", "Name part 1 (...-00001-of-...) as the source."),
    _rule(r"failed to load GGUF split from (?P<file>.+)", "A part of the split model cannot be opened: {file}.",
          "Put all parts into one folder, under their own names."),
    _rule(r"invalid split (?:file name|file|count|file idx)|missing key split\.no",
          "The parts of the split model do not belong together.",
          "Download all of them again and keep their names; never join them with cat."),
    _rule(r"failed to open GGUF file '(?P<file>[^']*)' \((?P<why>[^)]*)\)", "{file} cannot be opened: {why}.",
          "Correct the Model's `source`, or the owner and mode of the file."),
    _rule(r"invalid magic characters: '(?P<magic>[^']*)'", "The model file is not GGUF: it begins with '{magic}'.",
          "Download it again, or name another file."),
    _rule(r"exceeds remaining file size|failed to read (?:key-value|tensor)|not within the file bounds"
          r"|unexpectedly reached end|data is not within",
          "The model file is not whole: it ends too early.", "Download it again."),
    _rule(r"corrupted model: (?P<want>\d+) tensors expected but (?P<got>\d+) found",
          "The model file is damaged: {got} of {want} tensors are there.", "Download it again."),
    _rule(r"tensors? (?:'(?P<t>[^']*)' has|with) invalid data", "The model file holds invalid weights.",
          "Download it again."),
    _rule(r"unknown model architecture: '(?P<arch>[^']*)'",
          "This llama.cpp does not know the architecture '{arch}'.",
          "Use a newer llama-server (set `binary`), or another model."),
    _rule(r"unknown pre-tokenizer type: '(?P<type>[^']*)'", "This llama.cpp does not know the tokenizer '{type}'.",
          "Use a newer llama-server (set `binary`)."),
    _rule(r"missing tensor '(?P<tensor>[^']*)'|check_tensor_dims: tensor '(?P<other>[^']*)' has wrong shape",
          "The model file does not fit its architecture: a tensor is missing or has the wrong shape.",
          "Use a newer llama-server, or a file that was converted for this one."),
    _rule(r"key not found in model: (?P<key>\S+)", "The model file lacks the entry {key}.",
          "Use a file that was converted for this llama.cpp; an mmproj or adapter file is not a model."),
    # memory
    _rule(r"allocating (?P<size>[\d.]+ \w+) on device (?P<device>\S+): cudaMalloc failed: out of memory",
          "The GPU memory is full: device {device} could not give {size}.",
          "Lower ctx_size or n_gpu_layers, choose a smaller quantisation, or unload other Models.", permanent=False),
    _rule(r"ErrorOutOfDeviceMemory|CUDA error: out of memory|hipErrorOutOfMemory|HIP error: out of memory"
          r"|kIOGPUCommandBufferCallbackErrorOutOfMemory",
          "The GPU memory is full.",
          "Lower ctx_size or n_gpu_layers, choose a smaller quantisation, or unload other Models.", permanent=False),
    _rule(r"failed to (?:mlock|lock) |warning: failed to mlock", "The model could not be locked into memory.",
          "Raise the limit (ulimit -l, or LimitMEMLOCK= of the service), or set mlock: false.", permanent=False),
    _rule(r"failed to allocate buffer for kv cache|failed to allocate.*KV",
          "There is not enough memory for the KV cache.",
          "Lower ctx_size or parallel, or set cache_type_k and cache_type_v to q8_0.", permanent=False),
    _rule(r"failed to allocate compute|failed to reserve initial output buffer|failed to allocate graph",
          "There is not enough memory to compute with this model.",
          "Lower ubatch_size or ctx_size, or unload other Models.", permanent=False),
    _rule(r"unable to allocate (?P<what>\S+) buffer|failed to allocate (?P<other>\S+) buffer|std::bad_alloc"
          r"|Cannot allocate memory", "There is not enough memory for this model.",
          "Choose a smaller quantisation, lower ctx_size, or unload other Models.", permanent=False),
    # the place
    _rule(r"couldn't bind HTTP server socket, hostname: (?P<host>[^,]*), port: (?P<port>\d+)",
          "The engine could not listen at {host} (port {port}): the address is taken, or its folder is gone.",
          "Try again; Corral chooses a fresh address for each start.", permanent=False),
    _rule(r"error while loading shared libraries: (?P<library>[^:\s]+)", "The library {library} is missing.",
          "Install it, or set LD_LIBRARY_PATH in the Model's `env`."),
    _rule(r"CUDA driver version is insufficient", "The NVIDIA driver is older than this llama-server needs.",
          "Update the driver, or use a build for an older CUDA."),
    _rule(r"no CPU backend found|failed to initialize (?P<backend>\S+) backend",
          "llama.cpp could not start one of its back ends.",
          "Keep the libraries of the build beside its binary; for a GPU, check its driver."),
    _rule(r"No module named '?(?P<module>[\w.]+)", "The embedded engine is not installed: {module} is missing.",
          "Install corral[embedded], or put a llama-server on PATH."),
)  # fmt: skip

_REPACK = re.compile(r"repack|\bamx\b|AMX", re.IGNORECASE)
_ASSERT = re.compile(r"GGML_ASSERT\((?P<what>.*?)\) failed|GGML_ASSERT")
_MEMORY_FIX: Final = "Choose a smaller quantisation, lower ctx_size, or unload other Models."
_CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})


def diagnose(exit: ExitStatus | None, log: Sequence[str]) -> StartFailed:
    """The error for a start that failed. `exit` None means that it never became ready."""
    tail = tuple(line[:_LINE_LIMIT] for line in log[-TAIL_LINES:])
    matched = _by_log(log)
    message, hint, permanent = matched or _by_exit(exit, log)
    return StartFailed(message, hint=hint, log_tail=tail, permanent=permanent)


def _by_log(log: Sequence[str]) -> tuple[str, str, bool] | None:
    text = "\n".join(log)
    for rule in RULES:
        match = rule.pattern.search(text)
        if match:
            groups = {name: (value or "").strip().rstrip(".") for name, value in match.groupdict().items()}
            return rule.says.format(**groups), rule.fix, rule.permanent
    return None


def _by_exit(exit: ExitStatus | None, log: Sequence[str]) -> tuple[str, str, bool]:
    last = last_meaningful(log)
    said = f" It last said: {last}" if last else " It said nothing."
    if exit is None:
        return f"The engine did not become ready in time.{said}", "Raise the Model's load timeout.", False
    if exit.kind is ExitKind.OOM_KILLED:
        return "The engine was killed because the machine's memory, or the memory limit, was full.", _MEMORY_FIX, False
    if exit.kind is ExitKind.STOPPED:
        return "The engine was stopped before it was ready.", "", False
    if exit.kind is ExitKind.LOST:
        return f"The engine is gone and nobody saw why.{said}", "Look at the system log.", False
    if exit.kind is ExitKind.SIGNALLED:
        return _by_signal(exit.signal or 0, log, said)
    if any(_ASSERT.search(line) for line in log):
        return _crash("stopped at an internal check", log, said)
    if exit.code in (126, 127):
        return f"The engine's program could not be run.{said}", "Check `binary`.", True
    return f"The engine ended with code {exit.code} before it was ready.{said}", "", False


def _by_signal(number: int, log: Sequence[str], said: str) -> tuple[str, str, bool]:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number == signal.SIGKILL:
        return (
            f"The engine was killed (SIGKILL) while it loaded.{said}",
            f"If the machine was short of memory: {_MEMORY_FIX[0].lower()}{_MEMORY_FIX[1:]}",
            False,
        )
    if number == signal.SIGILL:
        return (
            f"The engine uses instructions that this processor does not have (SIGILL).{said}",
            "Use a llama-server that was built for this machine.",
            True,
        )
    if number in _CRASHES:
        return _crash(f"crashed ({name})", log, said)
    return f"The engine was ended by {name} before it was ready.{said}", "", False


def _crash(how: str, log: Sequence[str], said: str) -> tuple[str, str, bool]:
    """Weight repacking for AMX crashes at b11434 for several types; `--no-repack` loads them all."""
    if any(_REPACK.search(line) for line in log):
        return (
            f"The engine {how} while it rearranged the weights for this processor.{said}",
            "Set options.repack to false.",
            True,
        )
    return (
        f"The engine {how} while it loaded.{said}",
        "Try options.repack: false, another build, or another quantisation of the model.",
        False,
    )


def last_meaningful(log: Iterable[str]) -> str:
    """The last line that says something, without its time stamp; the last error line where there is one."""
    lines = [line for line in log if line.strip() and not _NOISE.search(line)]
    errors = [line for line in lines if re.match(r"^(?:\d+\.\d+\.\d+\.\d+\s+)?E\s|^error\b", line)]
    chosen = errors[-1] if errors else lines[-1] if lines else ""
    return _PREFIX.sub("", chosen).strip()[:300]
