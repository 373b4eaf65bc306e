"""
What the operator asked for, sorted: typed options, free arguments, and every sentence about what cannot be.

An argument that is an option under another spelling (`args: {ngl: 99}`, `{no_mmap: true}`) becomes that option, so that
slots, footprint and checks see the same value however it was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from corral.contracts.options import OptionKind, with_defaults
from corral.domain.fleet import ArgValue, ModelSpec, OptionValue
from corral.engines.llamacpp.options import BY_NAME, FILES, OPTIONS, QUANTISED_KV, plain
from corral.engines.llamacpp.spellings import OWNED, OWNED_ENV, OWNED_ENV_PREFIXES, recognised

_KNOWN: Final = recognised(tuple(BY_NAME))
_LEAST_SLOT_TOKENS: Final = 64  # a chat template alone takes about as many


@dataclass(frozen=True, slots=True)
class Settings:
    """`chosen` was asked for; `options` has the defaults too; `args` keep their order, keys without dashes."""

    chosen: Mapping[str, OptionValue]
    options: Mapping[str, OptionValue]
    args: tuple[tuple[str, ArgValue], ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def slots(self) -> int:
        """Requests that run at the same time."""
        value = self.options.get("parallel", 1)
        return value if isinstance(value, int) else 1


def flag_name(key: str) -> str:
    """`n_gpu_layers`, `--n-gpu-layers` and `-ngl` without dashes in front, in kebab-case."""
    return key.strip().lstrip("-").replace("_", "-")


def settings_of(model: ModelSpec) -> Settings:
    """Sort a Model's options and args. Never raises: what is wrong is in `problems`."""
    chosen: dict[str, OptionValue] = {}
    problems: list[str] = []
    for name, value in model.options.items():
        if name not in BY_NAME:
            problems.append(f"options.{name} is not an option of llamacpp.")
            continue
        try:
            chosen[name] = plain(name, value)
        except ValueError as error:
            problems.append(f"options.{error}.")
    rest: list[tuple[str, ArgValue]] = []
    for key, arg in model.args:
        wrong = _key_problem(key)
        if wrong:
            problems.append(wrong)
        elif flag_name(key) in _KNOWN:
            problems.extend(_lift(key, arg, model.options, chosen))
        elif arg is not False:  # false omits the flag
            rest.append((flag_name(key), arg))
    options = with_defaults(OPTIONS, chosen)
    problems += _conflicts(options, chosen)
    problems += _env_problems(model)
    return Settings(chosen, options, tuple(rest), tuple(problems))


def _key_problem(key: str) -> str:
    name = flag_name(key)
    if "=" in name or any(char.isspace() for char in name):
        bare = name.split("=", 1)[0].strip()
        if bare in OWNED:
            return f"args.{key} is not yours to set: {OWNED[bare]}"
        return f"args.{key} is not a flag: write the flag as the key and its value after a colon."
    if not name:
        return f"args has an empty flag {key!r}."
    if name in OWNED:
        return f"args.{key} is not yours to set: {OWNED[name]}"
    return ""


def _lift(key: str, arg: ArgValue, given: Mapping[str, OptionValue], chosen: dict[str, OptionValue]) -> list[str]:
    """Make an argument the option that it spells; `false` omits it, as for every argument."""
    if arg is False:
        return []
    option, on = _KNOWN[flag_name(key)]
    if option in given:
        return [f"args.{key} and options.{option} set the same thing: keep one of them."]
    value: object = arg
    if BY_NAME[option].kind is OptionKind.BOOL and arg is True:
        value = on
    elif not on:
        return [f"args.{key} takes no value: write true."]
    try:
        chosen[option] = plain(option, value)
    except ValueError as error:
        return [f"args.{key}: {error}."]
    return []


def _conflicts(options: Mapping[str, OptionValue], chosen: Mapping[str, OptionValue]) -> list[str]:
    """Options that cannot work together."""
    found: list[str] = []
    found += _attention(options)
    found += _batches(options, chosen)
    found += _task(options)
    found += _templates(options)
    found += _paths(options)
    mlock, mmap, mode = (options.get(name) for name in ("mlock", "mmap", "load_mode"))
    if mode is not None and (mlock is not None or mmap is not None):
        found.append("options.load_mode says the same as mlock and mmap: keep the one or the others.")
    low, high = options.get("draft_min"), options.get("draft_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        found.append(f"options.draft_min ({low}) is larger than draft_max ({high}).")
    return found


def _attention(options: Mapping[str, OptionValue]) -> list[str]:
    found = []
    kind = options.get("cache_type_v")
    if kind in QUANTISED_KV and options.get("flash_attn") == "off":
        found.append(f"options.cache_type_v {kind} needs flash attention: set flash_attn to on or auto, or use f16.")
    if options.get("context_shift") is True and options.get("embeddings") is True:
        found.append("options.context_shift has no meaning for embeddings: remove one of them.")
    return found


def _batches(options: Mapping[str, OptionValue], chosen: Mapping[str, OptionValue]) -> list[str]:
    found = []
    batch, micro = options.get("batch_size"), options.get("ubatch_size")
    if isinstance(batch, int) and isinstance(micro, int) and micro > batch:
        found.append(f"options.ubatch_size ({micro}) is larger than batch_size ({batch}).")
    ctx, slots = options.get("ctx_size"), options.get("parallel")
    if isinstance(ctx, int) and isinstance(slots, int) and ctx > 0 and options.get("kv_unified") is False:
        each = ctx // slots
        if each < _LEAST_SLOT_TOKENS:
            found.append(
                f"options.ctx_size {ctx} over {slots} slots leaves {each} tokens for each: "
                "raise ctx_size, lower parallel, or set kv_unified to true."
            )
    keep = chosen.get("keep")
    if isinstance(keep, int) and isinstance(ctx, int) and 0 < ctx <= keep:
        found.append(f"options.keep ({keep}) is not less than ctx_size ({ctx}).")
    return found


def _task(options: Mapping[str, OptionValue]) -> list[str]:
    found = []
    embeddings, rerank, pooling = (options.get(name) for name in ("embeddings", "rerank", "pooling"))
    if embeddings is True and rerank is True:
        found.append("options.embeddings and rerank exclude each other: make two Models of the same file.")
    if rerank is True and pooling not in (None, "rank"):
        found.append(f"options.rerank needs pooling rank, not {pooling}.")
    if pooling is not None and embeddings is not True and rerank is not True:
        found.append("options.pooling has a meaning only for embeddings: set embeddings to true, or remove it.")
    if pooling == "rank" and embeddings is True:
        found.append("options.pooling rank is for reranking: set rerank instead of embeddings.")
    if options.get("mmproj_offload") is not None and "mmproj" not in options:
        found.append("options.mmproj_offload has a meaning only with mmproj.")
    least, most = options.get("image_min_tokens"), options.get("image_max_tokens")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        found.append(f"options.image_min_tokens ({least}) is larger than image_max_tokens ({most}).")
    return found


def _templates(options: Mapping[str, OptionValue]) -> list[str]:
    found = []
    if "chat_template" in options and "chat_template_file" in options:
        found.append("options.chat_template and chat_template_file exclude each other: keep one of them.")
    if options.get("jinja") is False and "chat_template_file" in options:
        found.append("options.chat_template_file is a Jinja template: it needs jinja.")
    kwargs = options.get("chat_template_kwargs")
    if isinstance(kwargs, str):
        try:
            ok = isinstance(json.loads(kwargs), dict)
        except ValueError:
            ok = False
        if not ok:
            found.append("options.chat_template_kwargs must be a JSON object in quotes, for example '{\"key\": 1}'.")
    return found


def _paths(options: Mapping[str, OptionValue]) -> list[str]:
    """An engine runs in a folder of its own. The config makes single paths of `options` absolute, no others."""
    named = {name: options.get(name, ()) for name in (*FILES, "slot_save_path")}
    return [
        f"options.{name}: {path} is not a whole path: begin it with /."
        for name, value in named.items()
        for path in (value if isinstance(value, tuple) else (str(value),))
        if not os.path.isabs(path)
    ]


def _env_problems(model: ModelSpec) -> list[str]:
    found = []
    for name, _value in model.env:
        if name in OWNED_ENV:
            found.append(f"env.{name} is not yours to set: {OWNED_ENV[name]}")
        elif name.startswith(OWNED_ENV_PREFIXES):
            found.append(f"env.{name} would change the engine behind its options: use options or args.")
    return found
