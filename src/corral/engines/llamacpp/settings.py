"""
What the operator asked for, sorted: typed options, free arguments, and every sentence about what cannot be.

An argument that is an option under another spelling (`args: {ngl: 99}`, `{no_mmap: true}`) becomes that option, so that
slots, footprint and checks see the same value however it was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from corral.contracts.options import OptionKind, with_defaults
from corral.domain.fleet import ArgValue, ModelSpec, OptionValue
from corral.domain.units import format_duration
from corral.engines.llamacpp.checks import conflicts
from corral.engines.llamacpp.options import BY_NAME, OPTIONS, plain
from corral.engines.llamacpp.owned import OWNED, OWNED_ENV, OWNED_ENV_PREFIXES
from corral.engines.llamacpp.spellings import recognised

_KNOWN: Final = recognised(tuple(BY_NAME))
_DEFAULTS: Final = with_defaults(OPTIONS, {})
_PLACES: Final = {spec.name: place for place, spec in enumerate(OPTIONS)}
_REMEMBERED: Final = 1024
_remembered: Final[dict[str, Settings]] = {}


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
    """
    Sort a Model's options and args. Never raises: what is wrong is in `problems`.

    Thousands of Models are asked about several times each at every start, and most of them ask for the same: what was
    found for one is remembered for all that are written like it. Written, because to Python 1 and True are equal.
    """
    came = model.source.projector, model.source.adapters, _pictures_may_come(model)
    written = repr((model.options, model.args, model.env, model.ttl_s, came))
    found = _remembered.get(written)
    if found is None:
        if len(_remembered) >= _REMEMBERED:
            _remembered.clear()
        found = _remembered[written] = _settings_of(model)
    return found


def _settings_of(model: ModelSpec) -> Settings:
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
    if model.source.projector:  # what came along with the weights
        chosen.setdefault("mmproj", model.source.projector)
    if model.source.adapters and "lora_scaled" not in chosen:
        chosen.setdefault("lora", model.source.adapters)
    options = dict(sorted({**_DEFAULTS, **chosen}.items(), key=lambda option: _PLACES[option[0]]))
    problems += conflicts(options, chosen, pictures="mmproj" in options or _pictures_may_come(model))
    problems += _lifetime(model, chosen)
    problems += _env_problems(model)
    problems += _placeholder_problems(model)
    return Settings(chosen, options, tuple(rest), tuple(problems))


def _pictures_may_come(model: ModelSpec) -> bool:
    """Whether it has a projector is known only when its files are here."""
    return model.source.wanting and model.source.pictures


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


def _lifetime(model: ModelSpec, chosen: Mapping[str, OptionValue]) -> list[str]:
    sleep = chosen.get("sleep_idle_seconds")
    if isinstance(sleep, int) and 0 < model.ttl_s <= sleep:
        return [
            f"options.sleep_idle_seconds ({sleep}) is not less than the Model's ttl ({format_duration(model.ttl_s)}): "
            "it is unloaded before it could sleep."
        ]
    return []


def _placeholder_problems(model: ModelSpec) -> list[str]:
    """What other engines are given where they shall listen by; here it would stay as it is written."""
    written = [("args", name, value) for name, value in model.args if not _key_problem(name)]
    written += [("env", name, value) for name, value in model.env if not _is_owned_env(name)]
    return [
        f"{section}.{name} has {{{word}}}: Corral gives llama-server its address itself, so leave that out."
        for section, name, value in written
        for word in ("port", "socket")
        if f"{{{word}}}" in (" ".join(map(str, value)) if isinstance(value, tuple) else str(value))
    ]


def _is_owned_env(name: str) -> bool:
    return name in OWNED_ENV or name.startswith(OWNED_ENV_PREFIXES)


def _env_problems(model: ModelSpec) -> list[str]:
    found = []
    for name, _value in model.env:
        if name in OWNED_ENV:
            found.append(f"env.{name} is not yours to set: {OWNED_ENV[name]}")
        elif name.startswith(OWNED_ENV_PREFIXES):
            found.append(f"env.{name} would change the engine behind its options: use options or args.")
    return found
