"""
What the files themselves say against a start: headers -> sentences. Pure.

llama.cpp would find all of this too, after seconds of loading and in words of its own. Where a header does not say
enough, the engine has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from corral.contracts.headers import Header
from corral.domain.fleet import OptionValue
from corral.engines.llamacpp.caches import wrong_types
from corral.engines.llamacpp.drafting import spec_types

_VOCABULARY_SLACK: Final = 128  # llama.cpp: SPEC_VOCAB_MAX_SIZE_DIFFERENCE
_OTHER_KINDS: Final = {
    "clip": "a multimodal projector: name it as options.mmproj of its model",
    "controlvector": "a control vector: name it as options.control_vector of its model",
}
_HEADS: Final = {"draft-eagle3": "eagle3", "draft-dflash": "dflash", "draft-dspark": "dflash"}
_VOCABULARY: Final = {
    "tokenizer.ggml.model": "kind of tokenizer",
    "tokenizer.ggml.bos_token_id": "first token",
    "tokenizer.ggml.eos_token_id": "last token",
}


def not_a_model(header: Header) -> str:
    """What a file is that is no model to serve, with what to do; "" for a model."""
    if header.text("general.type") == "adapter":
        return "an adapter: name it as options.lora of its model"
    return _OTHER_KINDS.get(header.architecture, "")


def misfits(
    options: Mapping[str, OptionValue], model: Header, others: Mapping[str, list[tuple[str, Header]]]
) -> list[str]:
    """Sentences. `others`: (path, header) of the second sources, by option."""
    found, kinds = wrong_types(options, model), spec_types(options)
    for name, files in others.items():
        for path, header in files:
            found += _wrong_kind(name, path, model, header)
    for path, draft in others.get("model_draft", ()):
        found += wrong_types(options, draft, draft=True)
        found += [
            f"options.model_draft: {path} is no head for {kind}. Remove spec_type: the file says itself what it is for."
            for kind, architecture in _HEADS.items()
            if kind in kinds and draft.architecture != architecture
        ]
        if "draft-simple" in kinds or (not kinds and not _head_of(draft)):
            found += _vocabularies(path, model, draft)
    if "draft-mtp" in kinds and "model_draft" not in options and not _has_mtp(model):
        found.append("options.spec_type draft-mtp: the model has no layers for it. Name a head as model_draft.")
    return found


def notes(options: Mapping[str, OptionValue], model: Header) -> list[str]:
    """Settings that have no effect on this model; not wrong, because they may be meant for all Models."""
    if model.number("expert_count"):
        return []
    return [
        f"options.{name} has no effect: the model has no experts."
        for name in ("cpu_moe", "n_cpu_moe")
        if options.get(name)
    ]


def spec_type_of(draft: Header) -> str:
    """The kind of speculative decoding that a draft file is made for."""
    return _head_of(draft) or "draft-simple"


def _head_of(draft: Header) -> str:
    tensors = {tensor.name for tensor in draft.tensors}
    match draft.architecture:
        case "eagle3":
            return "draft-eagle3"
        case "dflash":  # a Markov head on top makes it the other
            return "draft-dspark" if "markov_w1.weight" in tensors else "draft-dflash"
    return "draft-mtp" if _has_mtp(draft) else ""


def _has_mtp(header: Header) -> bool:
    return bool(header.number("nextn_predict_layers")) or any(".nextn." in tensor.name for tensor in header.tensors)


def _wrong_kind(option: str, path: str, model: Header, header: Header) -> list[str]:
    is_adapter = header.text("general.type") == "adapter"
    match option:
        case "mmproj" if header.architecture != "clip":
            return [f"options.mmproj: {path} is not a multimodal projector. Use the mmproj file of this model."]
        case "lora" | "lora_scaled" if not is_adapter:
            return [f"options.{option}: {path} is not a LoRA adapter."]
        case "lora" | "lora_scaled" if header.architecture != model.architecture:
            return [
                f"options.{option}: {path} is an adapter for {header.architecture} models, and this one is "
                f"{model.architecture}."
            ]
        case "control_vector" | "control_vector_scaled" if header.architecture != "controlvector":
            return [f"options.{option}: {path} is not a control vector."]
        case "control_vector" | "control_vector_scaled":
            return _width(option, path, model, header)
        case "model_draft" if kind := not_a_model(header):
            return [f"options.model_draft: {path} is {kind}."]
    return []


def _width(option: str, path: str, model: Header, vector: Header) -> list[str]:
    """llama.cpp starts without a vector of another width, and says so in its log only."""
    ours, theirs = model.number("embedding_length"), {tensor.shape[:1] for tensor in vector.tensors}
    if ours and theirs != {(ours,)}:
        return [f"options.{option}: {path} is for models of another width than this one ({ours})."]
    return []


def _vocabularies(path: str, model: Header, draft: Header) -> list[str]:
    for key, what in _VOCABULARY.items():
        ours, theirs = model.metadata.get(key), draft.metadata.get(key)
        if ours is not None and theirs is not None and ours != theirs:
            return [
                f"options.model_draft: {path} has another {what} than the model ({theirs!r} and {ours!r}). "
                "Use a draft model of the same family."
            ]
    ours_n, theirs_n = (header.array_length("tokenizer.ggml.tokens") for header in (model, draft))
    if ours_n and theirs_n and abs(ours_n - theirs_n) > _VOCABULARY_SLACK:
        return [
            f"options.model_draft: {path} has another vocabulary than the model ({theirs_n} tokens and {ours_n}). "
            "Use a draft model of the same family."
        ]
    return []
