"""Context, KV cache and what is kept of finished requests."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import KV_TYPES, TRI, choice, mib, path, real, switch, whole

MAX_SLOTS: Final = 256  # LLAMA_MAX_SEQ

CONTEXT: Final[OptionTable] = (
    whole("ctx_size", "Context over all slots; 0 takes the model's training context.", "tokens"),
    whole("parallel", "Slots: how many requests run at the same time.", "slots", low=1, high=MAX_SLOTS, default=4),
    switch("kv_unified", "One KV cache for all slots, so that one slot may use the whole context.", default=True),
    whole("kv_unified_per_slot", "Most context that one slot may use of a unified KV cache.", "tokens", low=1),
    whole("batch_size", "Logical batch: tokens of a prompt that are handed over at once.", "tokens", low=1),
    whole("ubatch_size", "Physical batch: tokens computed at once; embeddings need it as long as the longest input.",
          "tokens", low=1),
    switch("cont_batching", "Take new requests into the batch while others run."),
    choice("flash_attn", "Flash attention.", TRI, default="auto"),
    choice("cache_type_k", "Type of the K half of the KV cache.", KV_TYPES),
    choice("cache_type_v", "Type of the V half of the KV cache; a quantised one needs flash attention.", KV_TYPES),
    switch("kv_offload", "Keep the KV cache on the GPU."),
    switch("swa_full", "Full-size cache for sliding-window attention."),
    switch("context_shift", "Drop the oldest tokens when the context is full instead of ending the answer."),
    whole("keep", "Tokens of the prompt that context_shift keeps; -1 keeps all.", "tokens", low=-1),
    mib("cache_ram", "Host memory for the prompts of finished requests; 0 turns it off, -1 has no limit.", low=-1,
        default=512),
    switch("cache_idle_slots", "Move what an idle slot holds to cache_ram when another request comes."),
    switch("cache_prompt", "Reuse the common beginning of prompts."),
    whole("cache_reuse", "Shortest piece that is reused from the cache by shifting; 0 turns it off.", "tokens"),
    whole("ctx_checkpoints", "Context checkpoints for each slot; 0 turns them off. One turn of a chat makes two.",
          "checkpoints", default=2),
    whole("checkpoint_min_step", "Smallest distance between two context checkpoints.", "tokens"),
    real("slot_prompt_similarity", "How much of a prompt a slot must hold to be preferred for it; 0 turns it off.",
         low=0, high=1),
    path("slot_save_path", "Folder for saved slots, in it one for each Model; turns the save and restore routes on."),
    choice("rope_scaling", "RoPE scaling method.", ("none", "linear", "yarn")),
    real("rope_scale", "Factor by which the context is expanded.", low=0.0001),
    real("rope_freq_base", "RoPE base frequency.", low=0),
    real("rope_freq_scale", "RoPE frequency scale: 1 / rope_scale.", low=0),
    whole("yarn_orig_ctx", "YaRN: the model's original context.", "tokens"),
    real("yarn_ext_factor", "YaRN: extrapolation mix."),
    real("yarn_attn_factor", "YaRN: magnitude of attention."),
    real("yarn_beta_slow", "YaRN: high correction."),
    real("yarn_beta_fast", "YaRN: low correction."),
)  # fmt: skip
