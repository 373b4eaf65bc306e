"""
How llama-server spells each option, newest spelling first; and the flags that are Corral's alone.

Builds rename flags. `argv` picks the first spelling that the binary's `--help` knows; `settings` uses the same table to
recognise an option that was written under `args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Spelling:
    """Flags that set an option; `off` are those that switch a boolean off."""

    on: tuple[str, ...]
    off: tuple[str, ...] = ()


def _pair(*names: str) -> Spelling:
    """`--jinja` with its `--no-jinja`."""
    return Spelling(names, tuple(f"--no-{name[2:]}" for name in names if name.startswith("--")))


def _plain(*names: str) -> Spelling:
    return Spelling(names)


_UNUSUAL: Final[dict[str, Spelling]] = {
    "ctx_size": _plain("--ctx-size", "-c"),
    "parallel": _plain("--parallel", "-np"),
    "kv_unified": Spelling(("--kv-unified", "-kvu"), ("--no-kv-unified", "-no-kvu")),
    "batch_size": _plain("--batch-size", "-b"),
    "ubatch_size": _plain("--ubatch-size", "-ub"),
    "flash_attn": _plain("--flash-attn", "-fa"),
    "cache_type_k": _plain("--cache-type-k", "-ctk"),
    "cache_type_v": _plain("--cache-type-v", "-ctv"),
    "kv_offload": Spelling(("--kv-offload", "-kvo"), ("--no-kv-offload", "-nkvo")),
    "context_shift": _pair("--context-shift"),
    "cache_ram": _plain("--cache-ram", "-cram"),
    "cache_prompt": _pair("--cache-prompt"),
    "ctx_checkpoints": _plain("--ctx-checkpoints", "--swa-checkpoints", "-ctxcp"),
    "n_gpu_layers": _plain("--n-gpu-layers", "--gpu-layers", "-ngl"),
    "device": _plain("--device", "-dev"),
    "split_mode": _plain("--split-mode", "-sm"),
    "tensor_split": _plain("--tensor-split", "-ts"),
    "main_gpu": _plain("--main-gpu", "-mg"),
    "override_tensor": _plain("--override-tensor", "-ot"),
    "cpu_moe": _plain("--cpu-moe", "-cmoe"),
    "n_cpu_moe": _plain("--n-cpu-moe", "-ncmoe"),
    "fit": _plain("--fit", "-fit"),
    "fit_target": _plain("--fit-target", "-fitt"),
    "fit_ctx": _plain("--fit-ctx", "-fitc"),
    "op_offload": _pair("--op-offload"),
    "repack": Spelling(("--repack",), ("--no-repack", "-nr")),
    "mlock": _plain("--mlock"),
    "mmap": _pair("--mmap"),
    "load_mode": _plain("--load-mode", "-lm"),
    "threads": _plain("--threads", "-t"),
    "threads_batch": _plain("--threads-batch", "-tb"),
    "warmup": _pair("--warmup"),
    "jinja": _pair("--jinja"),
    "reasoning": _plain("--reasoning", "-rea"),
    "prefill_assistant": _pair("--prefill-assistant"),
    "skip_chat_parsing": _pair("--skip-chat-parsing"),
    "embeddings": _plain("--embeddings", "--embedding"),
    "rerank": _plain("--reranking", "--rerank"),
    "mmproj": _plain("--mmproj", "-mm"),
    "mmproj_offload": _pair("--mmproj-offload"),
    "model_draft": _plain("--spec-draft-model", "--model-draft", "-md"),
    "draft_max": _plain("--spec-draft-n-max", "--draft-max", "--draft", "--draft-n"),
    "draft_min": _plain("--spec-draft-n-min", "--draft-min", "--draft-n-min"),
    "draft_p_min": _plain("--spec-draft-p-min", "--draft-p-min"),
    "n_gpu_layers_draft": _plain("--spec-draft-ngl", "--n-gpu-layers-draft", "--gpu-layers-draft", "-ngld"),
    "n_predict": _plain("--n-predict", "--predict", "-n"),
    "seed": _plain("--seed", "-s"),
    "temperature": _plain("--temp", "--temperature"),
    "top_n_sigma": _plain("--top-nsigma", "--top-n-sigma"),
    "typical_p": _plain("--typical", "--typical-p"),
}


def spelling(option: str) -> Spelling:
    """How this option is spelled; most are their name in kebab-case."""
    return _UNUSUAL.get(option) or _plain("--" + option.replace("_", "-"))


def recognised(options: tuple[str, ...]) -> dict[str, tuple[str, bool]]:
    """Every spelling without its dashes -> (option, True where it switches it on)."""
    known: dict[str, tuple[str, bool]] = {}
    for option in options:
        spelled = spelling(option)
        for flags, value in ((spelled.on, True), (spelled.off, False)):
            for flag in flags:
                known[flag.lstrip("-")] = (option, value)
    return known


_ADDRESS = "Corral gives each engine its address; the gateway's own is `server.host` and `server.port`."
_SOURCE = "The model file comes from the Model's `source`."
_KEYS = "Corral gives each engine a key of its own; clients' keys are the gateway's."
_NAME = "An engine is named after its Model; use `aliases` for more names."
_TLS = "Encryption is the gateway's: `server.tls`."
_ROUTES = "Corral reads these routes itself."
_TOOLS = "Tools, agents and proxies inside the engine would act behind the gateway's back."
_ROUTER = "Corral is the router: write one Model for each file."
_EXIT = "It makes the engine print something and end."

OWNED: Final[dict[str, str]] = {
    **dict.fromkeys(("host", "port", "reuse-port", "api-prefix"), _ADDRESS),
    **dict.fromkeys(
        ("m", "model", "mu", "model-url", "dr", "docker-repo", "hf", "hfr", "hf-repo", "hff", "hf-file", "hft",
         "hf-token", "hfv", "hfrv", "hf-repo-v", "hffv", "hf-file-v", "mmu", "mmproj-url", "mmproj-auto", "no-mmproj",
         "no-mmproj-auto", "hfd", "hfrd", "hf-repo-draft", "spec-draft-hf", "offline", "embd-gemma-default",
         "fim-qwen-1.5b-default", "fim-qwen-3b-default", "fim-qwen-7b-default", "fim-qwen-7b-spec",
         "fim-qwen-14b-spec", "fim-qwen-30b-default", "gpt-oss-20b-default", "gpt-oss-120b-default",
         "vision-gemma-4b-default", "vision-gemma-12b-default"), _SOURCE),
    **dict.fromkeys(("api-key", "api-key-file"), _KEYS),
    **dict.fromkeys(("a", "alias"), _NAME),
    **dict.fromkeys(("ssl-key-file", "ssl-cert-file"), _TLS),
    **dict.fromkeys(("metrics", "slots", "no-slots", "props"), _ROUTES),
    **dict.fromkeys(
        ("tools", "tools-runtime", "ag", "agent", "no-ag", "no-agent", "mcp-servers-config", "mcp-servers-json",
         "ui-mcp-proxy", "no-ui-mcp-proxy", "webui-mcp-proxy", "no-webui-mcp-proxy", "cors-origins", "cors-methods",
         "cors-headers", "cors-credentials", "no-cors-credentials"), _TOOLS),
    **dict.fromkeys(("models-dir", "models-preset", "models-max", "models-autoload", "no-models-autoload"), _ROUTER),
    **dict.fromkeys(("h", "help", "usage", "version", "cl", "cache-list", "completion-bash", "list-devices"), _EXIT),
}  # fmt: skip
"""Flags that `args` must not set, without their dashes -> why."""

OWNED_ENV: Final[dict[str, str]] = {
    "LLAMA_API_KEY": _KEYS,
    "LLAMA_SERVER_ROUTER_PORT": _ROUTER,
    "XDG_CONFIG_HOME": "Corral gives each engine a private one, so that no hidden config.ini changes it.",
}
OWNED_ENV_PREFIXES: Final = ("AIP_", "LLAMA_ARG_")
