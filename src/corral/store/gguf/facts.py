"""
From a header to the facts that people and clients ask for: what the model is, what it can do, how much context.

Pure. What a header says of itself is taken with care: files are requantised and merged with old metadata in them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from corral.domain.facts import ModelFacts
from corral.domain.fleet import OptionValue
from corral.store.gguf.asked import reach
from corral.store.gguf.cache import padded
from corral.store.gguf.header import Header, TensorInfo
from corral.store.gguf.projectors import Projects, projects
from corral.store.gguf.templates import template_abilities

FILE_TYPES: Final[dict[int, str]] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
"""`general.file_type` (llama.h, `enum llama_ftype`): other numbers than those of tensor types."""
_GUESSED: Final = 1024  # added where the type was not known for sure
_POOLING_RANK: Final = 4
_ENCODERS: Final = re.compile(r"bert|embedding|t5encoder")
_MOST_ITEMS: Final = 64  # of languages and tags: some files list a hundred languages, none a thousand
_MOST_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class FileSays:
    """
    What a header says that does not depend on options: small, so that thousands of files can be remembered.

    `own_task` is what the file is for; `template` what its chat template can do, None where it has none; `modalities`
    what it adds to another model as its projector, `projects` which models that may be.
    """

    base: ModelFacts
    own_task: str
    template: frozenset[str] | None
    fill_in: bool
    modalities: tuple[str, ...]
    projects: Projects | None = None


def says(header: Header, tensors: Sequence[TensorInfo], *, size_bytes: int) -> FileSays:
    """What the file says of itself. `tensors` are those of all parts."""
    base = ModelFacts(
        architecture=_short(header.architecture),
        name=_short(header.name),
        trained_context_tokens=header.context_length,
        parameters=sum(math.prod(tensor.shape) for tensor in tensors) or None,
        quantisation=_quantisation(header, tensors),
        size_bytes=size_bytes,
        embedding_length=header.number("embedding_length"),
        vocabulary=header.array_length("tokenizer.ggml.tokens"),
        languages=_texts(header, "general.languages"),
        license=_short(header.text("general.license")),
        tags=_texts(header, "general.tags"),
    )
    return FileSays(
        base=base,
        own_task=_own_task(header),
        template=template_abilities(header.chat_template, header.tools_template) if header.chat_template else None,
        fill_in="tokenizer.ggml.fim_pre_token_id" in header.metadata,
        modalities=tuple(
            name
            for kind, name in (("vision", "image"), ("audio", "audio"))
            if header.metadata.get(f"clip.has_{kind}_encoder") is True
        ),
        projects=projects(header, tensors),
    )


def facts(
    said: FileSays,
    *,
    options: Mapping[str, OptionValue],
    slots: int = 1,
    template: frozenset[str] | None = None,
    projector: FileSays | None = None,
) -> ModelFacts:
    """
    The facts of a model file under these options (with the engine's defaults filled in).

    `template` is what the template can do that the operator gave in the place of the file's own.
    """
    template = said.template if template is None else template
    task = _task(said.own_task, options, has_template=template is not None)
    inputs = ("text", *(projector.modalities if projector is not None else ()))
    return dataclasses.replace(
        said.base,
        task=task,
        capabilities=_capabilities(said, options, task, template or frozenset(), inputs),
        inputs=inputs,
        context_tokens=_context(said.base.trained_context_tokens, options, slots),
    )


def _own_task(header: Header) -> str:
    """What the file says that it is for; "" for text."""
    pooling = header.number("pooling_type")
    if pooling == _POOLING_RANK:
        return "rerank"
    causal = header.metadata.get(f"{header.architecture}.attention.causal")
    return "embeddings" if pooling or causal is False or _ENCODERS.search(header.architecture) else ""


def _task(own: str, options: Mapping[str, OptionValue], *, has_template: bool) -> str:
    """What it is for: as the options make it serve, else as the file says."""
    if options.get("rerank") is True:
        return "rerank"
    if options.get("embeddings") is True:
        return "embeddings"
    return own or ("chat" if has_template else "completion")


def _capabilities(
    said: FileSays, options: Mapping[str, OptionValue], task: str, template: frozenset[str], inputs: Sequence[str]
) -> tuple[str, ...]:
    if task in ("embeddings", "rerank"):
        return (task,)
    found = [task] if task == "completion" else ["chat", "completion"]
    if task == "chat" and options.get("jinja") is not False:
        found += [name for name in ("tools", "reasoning") if name in template]
    if said.fill_in:
        found.append("infill")
    found += [name for kind, name in (("image", "vision"), ("audio", "audio")) if kind in inputs]
    return tuple(found)


def _context(trained: int | None, options: Mapping[str, OptionValue], slots: int) -> int | None:
    """Tokens of one request: all of the context where slots share it, else a slot's part; never more than trained."""
    wanted, parallel, each = (_more_than_0(options, name) for name in ("ctx_size", "parallel", "kv_unified_per_slot"))
    parallel = parallel or max(1, slots)
    total = wanted or (each or 0) * parallel or trained
    if total is None:
        return None
    one = padded(total if options.get("kv_unified", True) is not False else padded(total) // parallel)
    most = None if trained is None else reach(trained, options)
    return min(bound for bound in (one, each, most) if bound)


def _more_than_0(options: Mapping[str, OptionValue], name: str) -> int | None:
    value = options.get(name)
    return value if isinstance(value, int) and value > 0 else None


def _quantisation(header: Header, tensors: Sequence[TensorInfo]) -> str:
    """The file type where it is a known one, else the type that most of the weights have."""
    said = header.metadata.get("general.file_type")
    if isinstance(said, int) and not isinstance(said, bool):
        name = FILE_TYPES.get(said & ~_GUESSED)
        if name:
            return name
    weights: Counter[str] = Counter()
    for tensor in tensors:
        weights[tensor.type] += math.prod(tensor.shape)
    return weights.most_common(1)[0][0] if weights else ""


def _texts(header: Header, key: str) -> tuple[str, ...]:
    value = header.metadata.get(key)
    items = value if isinstance(value, tuple) else ()
    return tuple(_short(item) for item in items[:_MOST_ITEMS] if isinstance(item, str))


def _short(text: str) -> str:
    return "".join(char for char in text[:_MOST_CHARS] if char.isprintable())
