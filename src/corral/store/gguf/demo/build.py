"""
Writes a demo model: the table of `chain`, or random weights, as a GGUF file that llama.cpp serves.

The `gguf` package writes the file. It is imported here, when a model is built, because it brings numpy along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.domain.errors import StoreFailed
from corral.store.gguf.demo import architectures, chain, templates, vocabulary
from corral.store.gguf.demo.architectures import Dimensions
from corral.store.gguf.demo.spec import DemoSpec, Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = dict[str, NDArray[np.float32]]

_MEAN, _RANK = 1, 4  # llama.cpp's pooling types


def build(path: str | os.PathLike[str], spec: DemoSpec) -> list[Path]:
    """
    Write the model and return its files, part 1 first (`NAME-00001-of-0000N.gguf` when `spec.parts` is above 1).

    The file appears complete or not at all. Raises StoreFailed without the `gguf` package and for a spec that no model
    can meet.
    """
    _need_gguf()
    words, tensors, dim = _model(spec)
    target = Path(path)
    return _write(target, spec, words, tensors, dim)


def say(path: str | os.PathLike[str], name: str, sentence: str) -> Path:
    """Write a chat model that answers everything with `I am NAME.` and the sentence, at any temperature."""
    return build(path, DemoSpec(name=name, sentence=f"I am {name}. {sentence}"))[0]


def embed(path: str | os.PathLike[str], name: str = "embed") -> Path:
    """Write an embedding model (BERT, mean pooling): texts that share more get vectors that are nearer."""
    return build(path, DemoSpec(name=name, task=Task.EMBED, arch="bert", context=2048))[0]


def obey(path: str | os.PathLike[str], name: str = "obey") -> Path:
    """Write a chat model that fills JSON schemas with short values, calls the tools it is offered, and ends."""
    sentence = f"I am {name}. Offer me tools or ask for JSON."
    return build(path, DemoSpec(name=name, sentence=sentence, task=Task.OBEY))[0]


def rerank(path: str | os.PathLike[str], name: str = "rerank") -> Path:
    """Write a reranking model (BERT with a classifier): the scores are fixed, but mean nothing."""
    return build(path, DemoSpec(name=name, task=Task.RERANK, arch="bert", context=2048))[0]


def _need_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise StoreFailed(
            "Writing a demo model needs the Python package gguf.", hint="pip install 'corral[embedded]' brings it."
        ) from error
    logging.getLogger("gguf").setLevel(logging.ERROR)  # its progress lines are meant for its own tools


def _model(spec: DemoSpec) -> tuple[vocabulary.Vocabulary, Tensors, Dimensions]:
    if spec.arch not in architectures.LAYERS:
        known = ", ".join(architectures.LAYERS)
        raise StoreFailed(f"No demo model has the architecture {spec.arch!r}.", hint=f"There are {known}.")
    experts = spec.experts or (4 if spec.arch.endswith("moe") else 0)
    sizes = {"ff": 64, "layers": spec.layers, "experts": experts, "context": spec.context}
    if spec.task in (Task.EMBED, Task.RERANK):
        words = vocabulary.vocabulary("")
        dim = _padded(spec, Dimensions(tokens=len(words), d=64, **sizes))
        return words, _randomised(_blank(spec, dim), spec.seed), dim
    try:
        words = vocabulary.vocabulary(spec.sentence, spec.thought)
    except ValueError as error:
        raise StoreFailed(str(error)) from error
    table = chain.chain(words, obey=spec.task is Task.OBEY, endless=spec.endless)
    dim = _padded(spec, Dimensions(tokens=len(words), d=chain.width(table), **sizes))
    embedding, output = chain.matrices(table, dim.d)
    return words, _blank(spec, dim) | {"token_embd.weight": embedding, "output.weight": output}, dim


def _padded(spec: DemoSpec, dim: Dimensions) -> Dimensions:
    """The dimensions with the feed-forward length that brings the tensors to `spec.size_bytes`."""

    def size(ff: int) -> int:
        sized = dataclasses.replace(dim, ff=ff)
        return 4 * sum(math.prod(shape) for shape in _shapes(spec, sized).values())

    missing = spec.size_bytes - size(dim.ff)
    if missing <= 0:
        return dim
    step = size(dim.ff + 32) - size(dim.ff)  # multiples of 32 suit every quantisation and vector width
    return dataclasses.replace(dim, ff=dim.ff + 32 * -(-missing // step))


def _shapes(spec: DemoSpec, dim: Dimensions) -> architectures.Shapes:
    return architectures.shapes(spec.arch, dim, rank=spec.task is Task.RERANK)


def _blank(spec: DemoSpec, dim: Dimensions) -> Tensors:
    import numpy as np

    def blank(name: str, shape: architectures.Shape) -> NDArray[np.float32]:
        tensor = np.ones(shape, np.float32) if name.endswith(architectures.ONES) else np.zeros(shape, np.float32)
        if name.endswith(architectures.FIRST):
            tensor.flat[0] = 1.0
        return tensor

    return {name: blank(name, shape) for name, shape in _shapes(spec, dim).items()}


def _randomised(tensors: Tensors, seed: int) -> Tensors:
    import numpy as np

    random = np.random.default_rng(seed)

    def draw(name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        if name.endswith(architectures.ONES) or not name.endswith(".weight"):
            return tensor
        scale = 1.0 if name == "token_embd.weight" else 1.0 / math.sqrt(tensor.shape[-1])
        return random.standard_normal(tensor.shape, dtype=np.float32) * np.float32(scale)

    return {name: draw(name, tensor) for name, tensor in tensors.items()}


def _write(target: Path, spec: DemoSpec, words: vocabulary.Vocabulary, tensors: Tensors, dim: Dimensions) -> list[Path]:
    import gguf

    if spec.parts > len(tensors):
        raise StoreFailed(f"A model of {len(tensors)} tensors cannot be split into {spec.parts} parts.")
    per_part = -(-len(tensors) // spec.parts) if spec.parts > 1 else 0
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.gguf")
    writer = gguf.GGUFWriter(None, spec.arch, split_max_tensors=per_part)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _metadata(writer, spec, words, dim)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file(temporary)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        files = writer.format_shard_names(target)
        for source, goal in zip(writer.format_shard_names(temporary), files, strict=True):
            source.replace(goal)
    except OSError as error:
        raise StoreFailed(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        writer.close()
        for left in writer.format_shard_names(temporary):
            with contextlib.suppress(OSError):
                left.unlink()
    return files


def _metadata(writer: Any, spec: DemoSpec, words: vocabulary.Vocabulary, dim: Dimensions) -> None:
    writer.add_name(spec.name)
    writer.add_description("A tiny model made by Corral for demonstrations and tests.")
    writer.add_file_type(0)
    for key, value in architectures.hyperparameters(spec.arch, dim).items():
        add = (
            writer.add_bool
            if isinstance(value, bool)
            else writer.add_uint32
            if isinstance(value, int)
            else writer.add_float32
        )
        add(f"{spec.arch}.{key}", value)
    if spec.task in (Task.EMBED, Task.RERANK):
        writer.add_uint32(f"{spec.arch}.pooling_type", _RANK if spec.task is Task.RERANK else _MEAN)
    else:
        writer.add_chat_template(templates.chat_template(tools=spec.task is Task.OBEY, thinking=bool(spec.thought)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(words.tokens))
    writer.add_token_types(list(words.types))
    writer.add_token_merges(["Ġ Ġ"])  # the loader wants a list, and this pair has no token: it never merges
    for role, token in {
        "bos": vocabulary.BEGIN,
        "eos": vocabulary.END,
        "fim_pre": vocabulary.FIM_PREFIX,
        "fim_suf": vocabulary.FIM_SUFFIX,
        "fim_mid": vocabulary.FIM_MIDDLE,
    }.items():
        writer.add_uint32(f"tokenizer.ggml.{role}_token_id", words.id(token))
    if spec.arch == "bert":
        writer.add_uint32("tokenizer.ggml.token_type_count", 2)
    rank = spec.task is Task.RERANK
    if rank:
        writer.add_uint32("tokenizer.ggml.seperator_token_id", words.id(vocabulary.BEGIN))
    writer.add_bool("tokenizer.ggml.add_bos_token", rank)
    writer.add_bool("tokenizer.ggml.add_eos_token", rank)
