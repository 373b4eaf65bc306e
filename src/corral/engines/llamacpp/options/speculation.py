"""Speculative decoding: who drafts, how much, and where the draft model is."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import KV_TYPES, choice, path, real, several, switch, whole

DRAFT_TYPES: Final = ("draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark")
NGRAM_TYPES: Final = ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")
SPEC_TYPES: Final = ("none", *DRAFT_TYPES, *NGRAM_TYPES)

_LOOKUP: Final = "Tokens that are looked for in what was said before"
_DRAFT: Final = "Tokens that are drafted from there"
_HITS: Final = "How often they must have been seen"

SPECULATION: Final[OptionTable] = (
    several("spec_type", "Kinds of speculative decoding: draft-simple, -eagle3, -mtp, -dflash or -dspark; "
            "ngram-simple, -map-k, -map-k4v, -mod or -cache."),
    path("model_draft", "Small model, or head, that drafts tokens."),
    whole("draft_max", "Most tokens to draft.", "tokens"),
    whole("draft_min", "Fewest tokens to draft.", "tokens"),
    real("draft_p_min", "Smallest probability of a drafted token.", low=0, high=1),
    real("draft_p_split", "Probability from which the draft splits.", low=0, high=1),
    choice("spec_draft_sampling", "Draft the likeliest token, or sample and let the model accept or reject.",
           ("greedy", "probabilistic")),
    switch("spec_draft_backend_sampling", "Sample the draft on the GPU."),
    whole("n_gpu_layers_draft", "Layers of the draft model on the GPU.", "layers", words=("auto", "all")),
    several("device_draft", "Devices for the draft model; `none` for the CPU."),
    choice("cache_type_k_draft", "Type of the K half of the draft model's KV cache.", KV_TYPES),
    choice("cache_type_v_draft", "Type of the V half of the draft model's KV cache.", KV_TYPES),
    several("override_tensor_draft", "Buffer type for tensors of the draft model by name, `PATTERN=TYPE`."),
    switch("cpu_moe_draft", "Keep all expert weights of the draft model on the CPU."),
    whole("n_cpu_moe_draft", "Keep the expert weights of its first layers on the CPU.", "layers"),
    whole("threads_draft", "CPU threads for the draft model; -1 takes the value of threads.", "threads", low=-1),
    whole("threads_batch_draft", "CPU threads for its prompts; -1 takes the value of threads_draft.", "threads",
          low=-1),
    whole("spec_ngram_mod_n_match", f"ngram-mod: {_LOOKUP.lower()}.", "tokens", low=1),
    whole("spec_ngram_mod_n_min", "ngram-mod: fewest tokens to draft.", "tokens"),
    whole("spec_ngram_mod_n_max", "ngram-mod: most tokens to draft.", "tokens"),
    whole("spec_ngram_simple_size_n", f"ngram-simple: {_LOOKUP.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_simple_size_m", f"ngram-simple: {_DRAFT.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_simple_min_hits", f"ngram-simple: {_HITS.lower()}.", "times", low=1),
    whole("spec_ngram_map_k_size_n", f"ngram-map-k: {_LOOKUP.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_map_k_size_m", f"ngram-map-k: {_DRAFT.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_map_k_min_hits", f"ngram-map-k: {_HITS.lower()}.", "times", low=1),
    whole("spec_ngram_map_k4v_size_n", f"ngram-map-k4v: {_LOOKUP.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_map_k4v_size_m", f"ngram-map-k4v: {_DRAFT.lower()}.", "tokens", low=1, high=1024),
    whole("spec_ngram_map_k4v_min_hits", f"ngram-map-k4v: {_HITS.lower()}.", "times", low=1),
    path("lookup_cache_static", "ngram-cache: file that is only read."),
    path("lookup_cache_dynamic", "ngram-cache: file that is read and written."),
)  # fmt: skip
