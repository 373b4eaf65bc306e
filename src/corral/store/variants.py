"""
Smaller ways to start a Model that does not fit, within the bounds that its operator set (`fit`).

First the context, by halves down to the bound, because most conversations never fill it and every byte of it is paid
for at the start; then layers are left in RAM, in four steps. Each way is smaller than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from corral.domain.devices import DeviceMemory
from corral.domain.fleet import ModelSpec, OptionValue
from corral.store.gguf.memory import FileFootprints

LAYER_STEPS: Final = 4

Way = tuple[Mapping[str, OptionValue], str]


def smaller_ways(files: FileFootprints, model: ModelSpec, devices: Sequence[DeviceMemory]) -> Iterator[Way]:
    """
    Options that replace those of the Model (resolved), the largest first, each with words for people.

    Reads the file's header. Raises StoreFailed.
    """
    fit = model.fit
    if fit is None or not model.source.path:
        return
    options: dict[str, OptionValue] = {}
    words = ""
    if fit.min_ctx_size is not None:
        context = files.estimate(model, devices).context
        whole = context.total_cells if context is not None else 0
        for size in _halves(whole, fit.min_ctx_size):
            options["ctx_size"] = size
            words = f"ctx_size {size} instead of {whole}"
            yield dict(options), words
    layers = _gpu_layers(files, model)
    if fit.min_gpu_layers is not None and layers is not None and devices:
        before = f"{words}, " if words else ""
        for count in _steps(layers, fit.min_gpu_layers):
            yield {**options, "n_gpu_layers": count}, f"{before}n_gpu_layers {count} instead of {layers}"


def _halves(whole: int, least: int) -> Iterator[int]:
    size = whole // 2
    while size > least:
        yield size
        size //= 2
    if least < whole:
        yield least


def _steps(whole: int, least: int) -> Iterator[int]:
    last = whole
    for step in range(1, LAYER_STEPS + 1):
        count = whole - (whole - least) * step // LAYER_STEPS
        if least <= count < last:
            last = count
            yield count


def _gpu_layers(files: FileFootprints, model: ModelSpec) -> int | None:
    """How many it has on GPUs; None for `auto`, where the engine itself leaves what does not fit in RAM."""
    wanted = model.options.get("n_gpu_layers", "auto")
    every = files.shape(model.source.path).layers + 1  # the output counts as one
    if wanted == "all":
        return every
    return min(wanted, every) if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted >= 0 else None
