"""
Flags and variables that are Corral's alone, with the sentence that refuses them; and those that are left to `args`.

Together with the options these are all flags of a build: a test compares them with its recorded help.
"""

from __future__ import annotations

from typing import Final

_ADDRESS = "Corral gives each engine its address; the gateway's own is `server.host` and `server.port`."
_SOURCE = "The model file comes from the Model's `source`."
_KEYS = "Corral gives each engine a key of its own; clients' keys are the gateway's."
_NAME = "An engine is named after its Model; use `aliases` for more names."
_TLS = "Encryption is the gateway's: `server.tls`."
_ROUTES = "Corral reads these routes itself."
_TOOLS = "Tools, agents and proxies inside the engine would act behind the gateway's back."
_ROUTER = "Corral is the router: write one Model for each file."
_EXIT = "It makes the engine print something and end."
_ESCAPE = "Texts reach the engine as they are written: YAML has escapes of its own."
_LORA = "It changes nothing for requests: load with scale 0 instead (`lora_scaled: FILE:0`), and requests name theirs."
_LOG = "Corral reads the engine's log itself, from its output and as it is: what was wrong, and the memory it took."

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
    **dict.fromkeys(("log-file", "log-jsonl", "no-log-jsonl"), _LOG),
    "lora-init-without-apply": _LORA,
    **dict.fromkeys(("e", "escape", "no-escape"), _ESCAPE),
}  # fmt: skip
"""Flags that `args` must not set, without their dashes -> why."""

OWNED_ENV: Final[dict[str, str]] = {
    "LLAMA_API_KEY": _KEYS,
    "LLAMA_SERVER_ROUTER_PORT": _ROUTER,
    "XDG_CONFIG_HOME": "Corral gives each engine a private one, so that no hidden config.ini changes it.",
}
OWNED_ENV_PREFIXES: Final = ("AIP_", "LLAMA_ARG_")

_RARE_DRAFT = "Fine tuning of the draft model's threads."
_UI = "For llama.cpp's own web page, which Corral does not configure."
_BENCH = "For benchmarks of llama.cpp itself."
_LOG_LOOKS = "How a log line looks."

LEFT_TO_ARGS: Final[dict[str, str]] = {
    "defrag-thold": "Without effect since late 2025; builds before that take it.",
    "rpc": "Memory of other machines, which Corral does not plan.",
    "sampler-seq": "Says the same as the option `samplers`.",
    "spec-default": "Says the same as `spec_type: ngram-mod`.",
    "spec-synth-len": _BENCH,
    "spec-synth-rates": _BENCH,
    **dict.fromkeys(
        ("spec-draft-cpu-mask", "spec-draft-cpu-range", "spec-draft-cpu-strict", "spec-draft-prio",
         "spec-draft-poll", "spec-draft-cpu-mask-batch", "spec-draft-cpu-strict-batch", "spec-draft-prio-batch",
         "spec-draft-poll-batch"), _RARE_DRAFT),
    **dict.fromkeys(("path", "ui-config", "ui-config-file"), _UI),
    **dict.fromkeys(("log-colors", "log-prefix", "log-timestamps"), _LOG_LOOKS),
    "log-disable": "No log at all: a failed start is then hard to explain.",
    "verbose": "Says the same as `verbosity: 5`.",
    "log-prompts-dir": "For finding faults: it writes what clients say to files.",
}  # fmt: skip
"""Flags of the newest recorded build that are neither options nor Corral's, by one of their names -> why not."""
