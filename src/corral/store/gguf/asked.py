"""The options of a load that decide over memory, read without trust: whatever has another type counts as not set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from corral.domain.fleet import OptionValue
from corral.store.gguf.cache import ContextPlan, padded
from corral.store.gguf.shape import MAX_LAYERS, ModelShape
from corral.store.gguf.windows import next_layers

MIB: Final = 1024 * 1024
ORIGINAL: Final = "rope.scaling.original_context_length"
MAX_CONTEXT: Final = 1 << 31  # llama.cpp counts tokens in 32 bits
_CONTEXT: Final = 4096  # where neither the operator nor the file says
_BATCH: Final = 2048
_UBATCH: Final = 512
_DRAFTED: Final = 3  # tokens drafted at once
_ROLLS_BACK: Final = frozenset({
    "kimi-k3", "qwen35", "qwen35moe", "qwen4exp", "deepseek4", "glm5-next", "nemotron_h", "nemotron_h_moe", "lfm2",
    "lfm2moe",
})  # fmt: skip
_DRAFTS_INSIDE: Final = frozenset({"draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark"})
_FOR_DRAFT: Final = {
    "n_gpu_layers_draft": "n_gpu_layers",
    "device_draft": "device",
    "cache_type_k_draft": "cache_type_k",
    "cache_type_v_draft": "cache_type_v",
    "override_tensor_draft": "override_tensor",
    "cpu_moe_draft": "cpu_moe",
    "n_cpu_moe_draft": "n_cpu_moe",
}
_PLACES: Final = ("split_mode", "tensor_split", "main_gpu", "n_cpu_ffn", "cache_ram")


def reach(trained: int, options: Mapping[str, OptionValue], original: int = 0) -> int:
    """
    How many tokens llama-server gives one request at most: what the model was `trained` for, whatever the context.

    Only YaRN with a factor makes it another, of the `original` context that the file or `yarn_orig_ctx` says.
    """
    scale, frequency = (options.get(name) for name in ("rope_scale", "rope_freq_scale"))
    if options.get("rope_scaling") != "yarn":
        return trained
    factor = scale if isinstance(scale, int | float) else 0
    if not factor and isinstance(frequency, int | float) and frequency > 0:
        factor = 1 / frequency
    chosen = options.get("yarn_orig_ctx")
    whole = chosen if isinstance(chosen, int) and chosen > 0 else original or trained
    return int(min(whole * factor, MAX_CONTEXT)) if factor > 0 else trained


@dataclass(frozen=True, slots=True)
class Asked:
    """Options by name (`Engine.resolved` has put them in one place), and the slots of the Model."""

    options: Mapping[str, OptionValue]
    slots: int
    is_draft: bool = False  # what is asked of the draft model

    def whole(self, name: str, default: int = 0) -> int:
        """An integer, 0 or more; the default for words (`auto`) and for less."""
        value = self.options.get(name)
        usable = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return int(value) if usable and isinstance(value, int) else default

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self.options.get(name)
        return value if isinstance(value, str) else default

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.options.get(name)
        return value if isinstance(value, bool) else default

    def listed(self, name: str) -> tuple[str, ...]:
        """A list; one text, or one with commas, is a list too."""
        value = self.options.get(name, ())
        items = value if isinstance(value, tuple) else (value,)
        return tuple(
            part.strip() for item in items if isinstance(item, str) for part in item.split(",") if part.strip()
        )

    def context(self, shape: ModelShape, tokens: int = 0) -> ContextPlan:
        """The context that is asked for, or so many `tokens` over all slots instead."""
        slots = min(max(1, self.whole("parallel") or self.slots), 1 << 16)
        unified = self.flag("kv_unified", True)
        each = self.whole("kv_unified_per_slot")
        # Where none is chosen `--fit` gives each slot that has a cache of its own the whole training context.
        trained = shape.whole("context_length") * (1 if unified or self.text("fit") == "off" else slots)
        if "ctx_size" not in self.options:  # a 0 that is said is the whole of what it was trained for
            trained = each * slots or trained
        wanted = tokens or self.whole("ctx_size") or trained or _CONTEXT
        total = padded(min(wanted, MAX_CONTEXT))
        ubatch = min(self.whole("ubatch_size") or _UBATCH, self.whole("batch_size") or _BATCH, total)
        kinds = self.listed("spec_type")
        drafts = not self.is_draft and any(kind in _DRAFTS_INSIDE for kind in kinds)
        head = self.is_draft and self.has_next_layers
        return ContextPlan(
            cells=total if unified else padded(total // slots),
            streams=1 if unified else slots,
            slots=slots,
            ubatch=ubatch,
            type_k=self.text("cache_type_k", "f16"),
            type_v=self.text("cache_type_v", "f16"),
            swa_full=self.flag("swa_full", False),
            flash=self.text("flash_attn", "auto") != "off",
            drafts_itself=head or (self.has_next_layers and not self.text("model_draft")),
            trunk=not (head and next_layers(shape)),
            rollback=(self.whole("draft_max") or _DRAFTED) if drafts and shape.architecture in _ROLLS_BACK else 0,
        )

    def of_draft(self, tokens: int) -> Asked:
        """The same for the draft model: as much context, its own types and places."""
        kept = {name: value for name, value in self.options.items() if name not in (*_FOR_DRAFT.values(), *_PLACES)}
        own = {_FOR_DRAFT[name]: value for name, value in self.options.items() if name in _FOR_DRAFT}
        # What `--fit` does to the model it does not do to its draft: all of that is on GPUs unless said otherwise.
        return Asked({**kept, **own, "ctx_size": tokens}, self.slots, is_draft=True).with_every_layer()

    def with_every_layer(self) -> Asked:
        """The same with all layers on GPUs, unless their number was chosen: what `--fit` begins with."""
        if isinstance(self.options.get("n_gpu_layers"), int):
            return self
        return replace(self, options={**self.options, "n_gpu_layers": "all"})

    def patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """`override_tensor` and its like, as patterns and buffer types. What is no pattern fails the load, not us."""
        found = []
        layers = min(self.whole("n_cpu_ffn"), MAX_LAYERS)
        if layers:
            numbers = "|".join(map(str, range(layers)))
            found.append((re.compile(rf"^blk\.({numbers})\.ffn_(up|down|gate)\."), "CPU"))
        for each in self.listed("override_tensor"):
            pattern, _, target = each.rpartition("=")
            try:
                found.append((re.compile(pattern), target))
            except (re.error, RecursionError):
                continue
        return tuple(found)

    @property
    def has_next_layers(self) -> bool:
        """Layers for further tokens are loaded for MTP alone, then from the model's file and from a head's."""
        return "draft-mtp" in self.listed("spec_type")

    @property
    def generates(self) -> bool:
        """False for Models that only embed or rank: they keep no finished prompts."""
        return not (self.flag("embeddings", False) or self.flag("rerank", False))
