"""
Models of which little more than a size is known: what a list says of them, and a usual shape for the rest.

Lists have sizes of files, mostly how many parameters there are and what context they were trained for. How many layers
and heads there are only a header says. Until one is read, a dense transformer of as many parameters stands in, with
layers as such models have them, and 8 key-value heads of 128: its weights, cache and buffers are then worked out as
those of any model are. Weights are right that way. The cache is about right for most; too high for models with windows,
few heads or recurrent layers, too low for those of 2023 that have a key-value head for each head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from corral.domain.devices import DeviceMemory
from corral.store.fit.report import QuantFit, quant_fit
from corral.store.fit.rooms import Rooms
from corral.store.fit.server import AnyServer, Server
from corral.store.fit.subject import Options, Subject, of_shape
from corral.store.gguf.cache import is_encoder
from corral.store.gguf.shape import MAX_NUMBER, ModelShape, Number
from corral.store.gguf.weights import Weights

_BYTES_EACH: Final = 0.6  # of a parameter in Q4_K_M, for files of which only the size is known
_CONTEXT: Final = 32_768
_VOCABULARY: Final = 151_936
_USUAL: Final[tuple[tuple[float, int, int], ...]] = (  # parameters up to, layers, width: Qwen 3, Llama 3
    (1e9, 28, 1024), (2.5e9, 28, 2048), (6e9, 36, 2560), (11e9, 36, 4096), (20e9, 40, 5120), (45e9, 64, 5120),
    (150e9, 80, 8192), (float("inf"), 126, 16384),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RoughModel:
    """What a list says. `numbers` are those of a header where somebody has written them down."""

    name: str
    size_bytes: int
    parameters: int | None = None
    architecture: str = ""
    context_tokens: int | None = None
    numbers: Mapping[str, Number] = field(default_factory=dict)


def subject_of(model: RoughModel, options: Options) -> Subject:
    """The model as what is fitted. Nothing is chosen: whoever looks for good options may change all of them."""
    parameters = model.parameters or max(1, int(model.size_bytes / _BYTES_EACH))
    numbers = {**_usual(parameters), **model.numbers}
    if model.context_tokens and 0 < model.context_tokens < MAX_NUMBER:
        numbers["context_length"] = model.context_tokens
    layers = numbers.pop("block_count")
    vocabulary = numbers.pop("vocabulary")
    assert isinstance(layers, int) and isinstance(vocabulary, int)
    bare = ModelShape(model.architecture, layers, {}, 0, Weights())
    architecture = model.architecture if model.numbers or is_encoder(bare) else "llama"  # another has rules of its own
    nothing = ModelShape(architecture, layers, numbers, vocabulary, Weights())
    shape = ModelShape(architecture, layers, numbers, vocabulary, _weights(nothing, model.size_bytes, parameters))
    return of_shape(model.name, shape, options=options, parameters=parameters, size_bytes=model.size_bytes)


def _usual(parameters: int) -> dict[str, Number]:
    layers, width = next((layers, width) for most, layers, width in _USUAL if parameters <= most)
    return {
        "block_count": layers, "embedding_length": width, "feed_forward_length": 3 * width, "context_length": _CONTEXT,
        "attention.head_count": max(8, width // 128), "attention.head_count_kv": 8, "attention.key_length": 128,
        "attention.value_length": 128, "vocabulary": _VOCABULARY,
    }  # fmt: skip


def _weights(shape: ModelShape, size_bytes: int, parameters: int) -> Weights:
    """The bytes of the files, over embedding, output, layers and experts by their parameters."""
    width, layers = shape.whole("embedding_length"), shape.layers
    ends = min(size_bytes // 4, size_bytes * shape.vocabulary * width // parameters)
    each = shape.whole("expert_count") * 3 * width * shape.whole("expert_feed_forward_length")
    experts = min((size_bytes - 2 * ends) // layers, size_bytes * each // parameters)
    dense = max(0, size_bytes - 2 * ends - experts * layers) // layers
    return Weights(ends, ends, (dense,) * layers, (experts,) * layers)


@dataclass(frozen=True, slots=True)
class Judge:
    """Whether such models fit into these memories: the judgement that `fit` makes of a quantisation, by less."""

    rooms: Rooms
    options: Options
    server: Server = field(default_factory=AnyServer)

    def of(self, model: RoughModel) -> QuantFit:
        """Raises nothing: a model that cannot be fits nowhere."""
        subject = replace(subject_of(model, self.options), server=self.server)
        return quant_fit(subject, self.rooms, _unknown)


def _unknown(device: DeviceMemory) -> None:
    """Lists say nothing of speed."""
