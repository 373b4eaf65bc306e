"""
What llama.cpp says when a start fails -> what it means, and what to do.

Strings of llama.cpp b11434 (`src/llama-model-loader.cpp`, `src/llama-context.cpp`, `common/arg.cpp`, `tools/server`);
most are as old as the project. The first rule that matches wins, so causes stand before their consequences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern in the log -> what it means. Its named groups fill `says`."""

    pattern: re.Pattern[str]
    says: str
    fix: str
    permanent: bool = True  # the same start can never work
    memory: bool = False  # with more memory free it may


def _rule(pattern: str, says: str, fix: str, *, permanent: bool = True, memory: bool = False) -> Rule:
    return Rule(re.compile(pattern), says, fix, permanent, memory)


RULES: Final[tuple[Rule, ...]] = (
    # flags and options
    _rule(r"error: invalid argument: (?P<flag>\S+)", "This llama-server does not know the flag {flag}.",
          "Remove it from `args`, or use a build that has it."),
    _rule(r'handling argument "(?P<flag>[^"]+)": the argument has been removed\. ?(?P<use>.*)',
          "This llama-server has lost the flag {flag}: {use}.", "Write the new flag, or use an older build."),
    _rule(r'handling argument "(?P<flag>[^"]+)": expected value', "The flag {flag} needs a value.",
          "Give it one in `args`."),
    _rule(r"(?:unknown|invalid) buffer type", "This llama.cpp has no buffer type of the name in override_tensor.",
          "Use CPU, or the name of a device."),
    _rule(r"invalid device: (?P<device>\S+)", "This llama.cpp sees no device {device}.",
          "Name one that `llama-server --list-devices` shows, or use a build for this GPU (set `binary`)."),
    _rule(r'handling argument "(?P<flag>[^"]+)": (?:error: )?(?P<why>.+)',
          "llama-server refuses the value of {flag}: {why}.", "Correct it in `options` or `args`."),
    _rule(r"failed to parse grammar|error parsing grammar: (?P<why>.+)", "The grammar cannot be read.",
          "Correct `grammar` or the file of `grammar_file`: GBNF, with a rule named root."),
    _rule(r"json_schema_to_grammar: (?P<why>.+)", "The JSON schema cannot be read: {why}.",
          "Correct `json_schema` or the file of `json_schema_file`."),
    _rule(r"Couldn't read (?P<which>\w+) lookup cache|failed to open (?P<kind>\w+) lookup cache",
          "A lookup cache cannot be read.", "Correct lookup_cache_static or lookup_cache_dynamic."),
    _rule(r"supplied chat template is not supported|chat template parsing error",
          "llama-server cannot read the chat template.",
          "Correct chat_template, remove it to use the model's own, or try jinja: false with chat_template: chatml."),
    _rule(r"quantized V cache (?:requires flash_attn|was requested, but this requires Flash Attention)",
          "A quantised V cache needs flash attention, which is off or not possible for this model.",
          "Set flash_attn: on, or cache_type_v: f16."),
    _rule(r"(?P<half>[KV]) cache type (?P<type>\S+) with block size (?P<block>\d+) does not divide \S+?=(?P<size>\d+)",
          "The {half} cache cannot be {type} for this model: its heads of {size} values do not divide into blocks of "
          "{block}.", "Set cache_type_k and cache_type_v to f16 or bf16."),
    _rule(r"model does not support different K \((?P<key>\w+)\) and V \((?P<value>\w+)\) cache types",
          "This model has one cache type for keys and values, not {key} and {value}: its attention is compressed.",
          "Set cache_type_k and cache_type_v to the same, or neither."),
    _rule(r"GGML_ASSERT\(ggml_can_mul_mat", "llama.cpp cannot lay out its computation for these settings.",
          "For embeddings with mean pooling (of the file or set) make ubatch_size a multiple of `parallel`, or set "
          "another `pooling`; else correct the adapters, or use another build."),
    _rule(r"n_seq_max must be <= (?P<most>\d+)", "This build serves at most {most} slots.", "Lower `parallel`."),
    _rule(r"draft (?:and target )?(?:model )?vocabs?.*not compatible|target and draft vocabs are not compatible"
          r"|draft model vocab type must match",
          "The draft model has another vocabulary than the model.",
          "Use a draft model of the same family, or remove model_draft."),
    _rule(r"failed to create MTP context", "The model has no layers that draft (MTP).",
          "Name a head for it as model_draft, or remove draft-mtp from spec_type."),
    _rule(r"DFlash model has no target_layer_ids|draft model is not eagle3",
          "The draft model is not of the kind that spec_type names.",
          "Remove spec_type: the file says itself what it is for; or use draft-simple."),
    _rule(r"failed to load draft model, '(?P<file>[^']*)'", "The draft model {file} cannot be loaded.",
          "Correct model_draft, or remove it."),
    _rule(r"failed to load multimodal model, '(?P<file>[^']*)'|mmproj.*(?:mismatch|not match)",
          "The multimodal projector (mmproj) cannot be loaded with this model.",
          "Use the mmproj file that was published with it."),
    _rule(r"failed to (?:apply|load|init)\w* (?:the )?lora adapter|LoRA arch mismatch|lora adapter.*not found",
          "A LoRA adapter cannot be applied to this model.", "Use an adapter that was made for it."),
    # the file
    _rule(r"CLIP cannot be used as main model", "The file is a multimodal projector, not a model.",
          "Name the model as the source, and this file as mmproj."),
    _rule(r"unknown model architecture: 'controlvector'", "The file is a control vector, not a model.",
          "Name the model as the source, and this file as control_vector."),
    _rule(r"bad GGUF version: (?P<version>\d+)", "The file is damaged: it says GGUF version {version}.",
          "Download it again."),
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
    _rule(r"GGUF file is version (?P<version>\d+) but this software only supports up to version (?P<most>\d+)",
          "The file is GGUF version {version}; this llama.cpp reads up to version {most}.",
          "Use a newer llama-server (set `binary`)."),
    _rule(r"exceeds remaining file size|failed to read (?:key-value|tensor)|not within the file bounds"
          r"|unexpectedly reached end|data is not within",
          "The model file is not whole: it ends too early.", "Download it again."),
    _rule(r"corrupted model: (?P<want>\d+) tensors expected but (?P<got>\d+) found",
          "The model file is damaged: {got} of {want} tensors are there.", "Download it again."),
    _rule(r"tensors? (?:'[^']*' has|with) invalid data", "The model file holds invalid weights.",
          "Download it again."),
    _rule(r"unknown model architecture: '(?P<arch>[^']*)'",
          "This llama.cpp does not know the architecture '{arch}'.",
          "Use a newer llama-server (set `binary`), or another model."),
    _rule(r"unknown pre-tokenizer type: '(?P<type>[^']*)'", "This llama.cpp does not know the tokenizer '{type}'.",
          "Use a newer llama-server (set `binary`)."),
    _rule(r"missing tensor '|tensor '[^']*' not found|tensor '[^']*' has wrong shape",
          "The model file does not fit its architecture: a tensor is missing or has the wrong shape.",
          "Use a newer llama-server, or a file that was converted for this one."),
    _rule(r"key not found in model: (?P<key>\S+)", "The model file lacks the entry {key}.",
          "Use a file that was converted for this llama.cpp; an mmproj or adapter file is not a model."),
    # memory
    _rule(r"allocating (?P<size>[\d.]+ \w+) on device (?P<device>\S+): cudaMalloc failed: out of memory",
          "The GPU memory is full: device {device} could not give {size}.",
          "Lower ctx_size or n_gpu_layers, choose a smaller quantisation, or unload other Models.",
          permanent=False, memory=True),
    _rule(r"ErrorOutOfDeviceMemory|CUDA error: out of memory|hipErrorOutOfMemory|HIP error: out of memory"
          r"|kIOGPUCommandBufferCallbackErrorOutOfMemory",
          "The GPU memory is full.",
          "Lower ctx_size or n_gpu_layers, choose a smaller quantisation, or unload other Models.",
          permanent=False, memory=True),
    _rule(r"failed to allocate buffer for kv cache|failed to allocate.*KV",
          "There is not enough memory for the KV cache.",
          "Lower ctx_size or parallel, or set cache_type_k and cache_type_v to q8_0.", permanent=False, memory=True),
    _rule(r"failed to allocate compute|failed to reserve initial output buffer|failed to allocate graph",
          "There is not enough memory to compute with this model.",
          "Lower ubatch_size or ctx_size, or unload other Models.",
          permanent=False, memory=True),
    _rule(r"insufficient memory \(attempted to allocate (?P<size>[\d.]+ \w+)\)",
          "There is not enough memory for this model: {size} in one piece could not be had.",
          "Choose a smaller quantisation, lower ctx_size, or unload other Models.", permanent=False, memory=True),
    _rule(r"unable to allocate (?P<what>\S+) buffer|failed to allocate (?P<other>\S+) buffer|std::bad_alloc"
          r"|Cannot allocate memory", "There is not enough memory for this model.",
          "Choose a smaller quantisation, lower ctx_size, or unload other Models.",
          permanent=False, memory=True),
    # the place
    _rule(r"couldn't bind HTTP server socket, hostname: (?P<path>\S+\.sock), port",
          "The engine could not listen on its socket {path}: a stale file is there, or its folder is gone.",
          "Try again; Corral chooses a fresh address for each start.", permanent=False),
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
    _rule(r"failed to (?:mlock|lock) |warning: failed to mlock", "The model could not be locked into memory.",
          "Raise the limit (ulimit -l, or LimitMEMLOCK= of the service), or set mlock: false.", permanent=False),
)  # fmt: skip
