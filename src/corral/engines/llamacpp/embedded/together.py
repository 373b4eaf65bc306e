"""Fields of the wheel that several options set together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.checks import listed
from corral.engines.llamacpp.companions import scaled
from corral.engines.llamacpp.embedded.kinds import EXPERTS, Fields, experts, mask, span

_LOAD_MODES: Final[dict[str, str]] = {
    "auto": "AUTO", "none": "NONE", "mmap": "MMAP", "mlock": "MLOCK", "mmap+mlock": "MMAP_MLOCK", "dio": "DIRECT_IO",
}  # fmt: skip


def combined(options: Mapping[str, OptionValue]) -> Fields:
    """Fields that several options set together."""
    fields = _load_mode(options) | _lora(options)
    for end, path in (("", "tensor_buft_overrides"), ("_draft", "speculative.draft.tensor_buft_overrides")):
        rules = listed(options.get(f"override_tensor{end}"))
        if options.get(f"cpu_moe{end}") is True:
            rules.append(f"{EXPERTS}=CPU")
        rules += [experts(int(str(options[name]))) for name in (f"n_cpu_moe{end}",) if options.get(name)]
        if not end and options.get("n_cpu_ffn"):
            rules += [rf"blk\.{layer}\.ffn_(up|down|gate)\.=CPU" for layer in range(int(str(options["n_cpu_ffn"])))]
        if rules:
            fields[path] = ",".join(rules)
    for threads, names in (
        ("cpuparams", ("cpu_mask", "cpu_range")),
        ("cpuparams_batch", ("cpu_mask_batch", "cpu_range_batch")),
    ):
        masks = [mask(options[name]) for name in names[:1] if name in options]
        masks += [span(options[name]) for name in names[1:] if name in options]
        if masks:
            fields[f"{threads}.cpumask"] = [any(each) for each in zip(*masks, strict=True)]
            fields[f"{threads}.mask_valid"] = True
    return fields


def _lora(options: Mapping[str, OptionValue]) -> Fields:
    adapters: list[list[object]] = [[path, 1.0] for path in listed(options.get("lora"))]
    adapters += [[*scaled(entry)] for entry in listed(options.get("lora_scaled"))]
    return {"lora_adapters": ["lora", *adapters]} if adapters else {}


def _load_mode(options: Mapping[str, OptionValue]) -> Fields:
    mode = options.get("load_mode")
    if mode is None:
        mlock, mmap = options.get("mlock"), options.get("mmap")
        if mlock is None and mmap is None:
            return {}
        if mlock is True:
            mode = "mlock" if mmap is False else "mmap+mlock"
        else:
            mode = {None: "auto", True: "mmap", False: "none"}[None if mmap is None else mmap is True]
    return {"load_mode": ["enum", "llama_load_mode", f"LLAMA_LOAD_MODE_{_LOAD_MODES[str(mode)]}"]}


TOGETHER: Final = frozenset({
    "mlock", "mmap", "load_mode", "lora", "lora_scaled", "override_tensor", "cpu_moe", "n_cpu_moe", "n_cpu_ffn",
    "override_tensor_draft", "cpu_moe_draft", "n_cpu_moe_draft", "cpu_mask", "cpu_range", "cpu_mask_batch",
    "cpu_range_batch",
})  # fmt: skip
"""Options that `combined` reads."""
