"""Speculative decoding: which kinds are on, what each needs, and what its options belong to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from corral.domain.fleet import OptionValue
from corral.domain.names import near_names
from corral.engines.llamacpp.companions import texts
from corral.engines.llamacpp.options.speculation import DRAFT_TYPES, SPEC_TYPES

_NEEDS_A_MODEL: Final = ("draft-simple", "draft-eagle3", "draft-dflash", "draft-dspark")  # draft-mtp may be in the file
_OF_THE_MODEL: Final = (
    "n_gpu_layers_draft", "device_draft", "cache_type_k_draft", "cache_type_v_draft", "override_tensor_draft",
    "cpu_moe_draft", "n_cpu_moe_draft", "threads_draft", "threads_batch_draft",
)  # fmt: skip
_OF_DRAFTS: Final = (
    "draft_max", "draft_min", "draft_p_min", "draft_p_split", "spec_draft_sampling", "spec_draft_backend_sampling",
)  # fmt: skip
_OF_KINDS: Final = {
    "spec_ngram_mod_": "ngram-mod",
    "spec_ngram_simple_": "ngram-simple",
    "spec_ngram_map_k_": "ngram-map-k",
    "spec_ngram_map_k4v_": "ngram-map-k4v",
    "lookup_cache_": "ngram-cache",
}


def spec_types(options: Mapping[str, OptionValue]) -> tuple[str, ...]:
    """The kinds that are on, as they were written; () where nothing was."""
    return tuple(part.strip() for text in texts(options.get("spec_type", ())) for part in text.split(","))


def asked_for(options: Mapping[str, OptionValue]) -> bool:
    """Whether something should draft."""
    return "model_draft" in options or any(kind not in ("none", "") for kind in spec_types(options))


def conflicts(options: Mapping[str, OptionValue]) -> list[str]:
    """What is wrong with the options of speculative decoding."""
    found = []
    kinds, model = spec_types(options), "model_draft" in options
    on = [kind for kind in kinds if kind != "none"]
    for kind in kinds:
        if kind not in SPEC_TYPES:
            near = near_names(kind, SPEC_TYPES, most=1) or SPEC_TYPES[1:]
            found.append(f"options.spec_type {kind!r} is unknown: did you mean {' or '.join(near)}?")
    if found:
        return found
    if "none" in kinds and (on or model):
        found.append("options.spec_type none turns speculative decoding off: remove it, or the draft model.")
    if not model:
        found += [f"options.spec_type {kind} needs model_draft." for kind in on if kind in _NEEDS_A_MODEL]
        if "draft-mtp" not in on:
            found += [
                f"options.{name} has a meaning only with model_draft." for name in _OF_THE_MODEL if name in options
            ]
    elif on and not set(on) & set(DRAFT_TYPES):
        found.append("options.model_draft is not used by this spec_type: add draft-simple, or remove model_draft.")
    if not on and not model:
        found += [
            f"options.{name} has a meaning only with spec_type or model_draft."
            for name in _OF_DRAFTS
            if name in options
        ]
    found += [
        f"options.{name} has a meaning only with spec_type {kind}."
        for prefix, kind in _OF_KINDS.items()
        for name in options
        if name.startswith(prefix) and kind not in on
    ]
    if (on or model) and (options.get("embeddings") is True or options.get("rerank") is True):
        found.append("options.spec_type and model_draft are for text: remove them, or embeddings and rerank.")
    for least, most in (("draft_min", "draft_max"), ("spec_ngram_mod_n_min", "spec_ngram_mod_n_max")):
        low, high = options.get(least), options.get(most)
        if isinstance(low, int) and isinstance(high, int) and low > high:
            found.append(f"options.{least} ({low}) is larger than {most} ({high}).")
    return found
