"""
Settings and one binary's flags -> arguments. Pure.

Only what the binary's `--help` names is ever sent. A setting that was renamed gets the spelling that this binary knows;
one that it has lost is an error that says so, before anything is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from corral.contracts.options import OptionKind
from corral.domain.errors import StartFailed
from corral.domain.fleet import ArgValue, OptionValue
from corral.engines.llamacpp.companions import texts
from corral.engines.llamacpp.drafting import spec_types
from corral.engines.llamacpp.help import Capabilities, Flag
from corral.engines.llamacpp.options import BY_NAME
from corral.engines.llamacpp.settings import Settings
from corral.engines.llamacpp.spellings import spelling

Argv = list[str]

_ALL_LAYERS: Final = "999"  # for builds that do not know the word `all`
_MEMORY: Final = ("mlock", "mmap", "load_mode")
_ESCAPED: Final = frozenset({"reverse_prompt", "dry_sequence_breaker"})
_LOAD_MODES: Final[dict[str, tuple[bool | None, bool | None]]] = {
    # load_mode -> (mlock, mmap) of the builds before it; None leaves the default
    "auto": (None, None),
    "none": (False, False),
    "mmap": (False, True),
    "mlock": (True, False),
    "mmap+mlock": (True, True),
}


def argv_of(settings: Settings, known: Capabilities) -> Argv:
    """
    Everything that `options` and `args` ask for.

    Raises StartFailed (permanent) for what this binary cannot do. A default that it does not know is left out.
    """
    argv: Argv = _memory(settings.options, known)
    for name, value in settings.options.items():
        if name in _MEMORY:
            continue
        asked = name in settings.chosen
        special = _SPECIAL.get(name)
        if special:
            argv += special(value, asked, known)
        elif BY_NAME[name].kind is OptionKind.BOOL:
            argv += _switch(name, value is True, asked, known)
        else:
            argv += _valued(name, value, asked, known)
    if _ESCAPED & settings.options.keys() and "--no-escape" in known.flags:
        argv.append("--no-escape")  # else a backslash in these texts would mean something to the command line
    for key, arg in settings.args:
        argv += _free(key, arg, known)
    return argv


def text_of(value: str | int | float) -> str:
    """How a value is written on a command line: `1`, `0.5`, `1000000.0`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def lost(what: str, names: Sequence[str], known: Capabilities) -> StartFailed:
    """The error for a flag that this binary does not have."""
    gone = next((known.gone[name] for name in names if name in known.gone), "")
    near = known.near(names[0])
    hint = gone or (f"Did you mean {' or '.join(near)}?" if near else "")
    return StartFailed(
        f"This llama-server does not know {names[0]}, which {what} needs.",
        hint=f"{hint} Use another build, or remove the setting.".strip(),
        permanent=True,
    )


def _valued(name: str, value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """`--flag VALUE`, or a list as the flag takes it."""
    names = spelling(name).on
    flag = known.first(names)
    if flag is None:
        if asked:
            raise lost(f"options.{name}", names, known)
        return []
    return _with_values(known.spelling(names), value if isinstance(value, tuple) else (value,), flag)


def _with_values(spelled: str, values: Sequence[str | int | float], flag: Flag) -> Argv:
    texts = [text_of(value) for value in values]
    if not texts:
        return []
    if flag.takes_list:
        return [spelled, ",".join(texts)]
    return [part for text in texts for part in (spelled, text)]


def _switch(name: str, on: bool, asked: bool, known: Capabilities) -> Argv:
    """`--flag` or `--no-flag`; where only the other one exists, leaving that out says the same."""
    spelled = spelling(name)
    valued = known.first(spelled.on)
    if valued is not None and valued.takes_value:  # `--cpu-strict <0|1>`
        return [known.spelling(spelled.on), "1" if on else "0"]
    wanted, other = (spelled.on, spelled.off) if on else (spelled.off, spelled.on)
    flag = known.spelling(wanted)
    if flag:
        return [flag]
    if not asked or known.spelling(other) or not (on or spelled.off):
        return []  # a bare flag that is left out is off
    raise lost(f"options.{name}", wanted or spelled.on, known)


def _memory(options: Mapping[str, OptionValue], known: Capabilities) -> Argv:
    """`mlock`, `mmap` and `load_mode` in the words of this build: one flag since 2026, three before."""
    mode = options.get("load_mode")
    mlock, mmap = options.get("mlock"), options.get("mmap")
    if mode is None and mlock is None and mmap is None:
        return []
    if known.spelling(("--load-mode",)):
        if mode is None:
            mode = _load_mode(mlock is True, None if mmap is None else mmap is True)
        return ["--load-mode", str(mode)] if mode != "auto" or "load_mode" in options else []
    if mode == "dio":
        flag = known.spelling(("--direct-io", "-dio"))
        if not flag:
            raise lost("options.load_mode dio", ("--direct-io",), known)
        return [flag]
    if mode is not None:
        mlock, mmap = _LOAD_MODES[str(mode)]
    argv: Argv = []
    if mmap is not None:
        argv += _switch("mmap", mmap is True, True, known)
    if mlock is True:
        argv += _switch("mlock", True, True, known)
    return argv


def _load_mode(mlock: bool, mmap: bool | None) -> str:
    if mlock:  # --mlock alone kept the mapping
        return "mlock" if mmap is False else "mmap+mlock"
    return {None: "auto", True: "mmap", False: "none"}[mmap]


def _flash_attn(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """`--flash-attn on|off|auto`; before September 2025 a bare switch that was off by default."""
    flag = known.first(("--flash-attn",))
    if flag is not None and not flag.takes_value:
        return ["--flash-attn"] if value == "on" else []
    return _valued("flash_attn", value, asked, known)


def _layers(name: str) -> Callable[[OptionValue, bool, Capabilities], Argv]:
    def layers(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
        """`auto` and `all` are words since late 2025; before, a number was wanted and there was no automatic."""
        flag = known.first(spelling(name).on)
        if flag is not None and "auto" not in flag.text + flag.hint:
            if value == "auto":
                return []
            if value == "all":
                value = _ALL_LAYERS
        return _valued(name, value, asked, known)

    return layers


def _reasoning(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """Builds without `--reasoning` can still end the thinking at once with a budget of 0."""
    if known.first(("--reasoning",)) is None and known.first(("--reasoning-budget",)) is not None:
        return ["--reasoning-budget", "0"] if value == "off" else []
    return _valued("reasoning", value, asked, known)


def _spec_type(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """
    Which kinds draft. Until spring 2026 a draft model alone meant draft-simple, and the flag took one kind of n-gram.
    """
    kinds = list(spec_types({"spec_type": value}))
    names = spelling("spec_type").on
    flag = known.first(names)
    if flag is None or "draft" not in flag.hint:
        kinds = [kind for kind in kinds if kind not in ("draft-simple", "none")]
        unknown = [kind for kind in kinds if flag is None or kind not in flag.hint]
        if unknown or len(kinds) > 1:
            raise lost(f"options.spec_type {(unknown or kinds)[-1]}", names, known)
    return [known.spelling(names), ",".join(kinds)] if kinds else []


def _scaled(name: str) -> Callable[[OptionValue, bool, Capabilities], Argv]:
    def scaled_files(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
        """`FILE:SCALE,...`; until late 2025 two arguments for each file."""
        flag = known.first(spelling(name).on)
        if flag is None or " " not in flag.hint:
            return _valued(name, value, asked, known)
        pairs = [entry.rpartition(":") for entry in texts(value)]
        return [part for path, _, scale in pairs for part in (known.spelling(spelling(name).on), path, scale)]

    return scaled_files


def _layer_range(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    names = spelling("control_vector_layer_range").on
    if known.first(names) is None:
        raise lost("options.control_vector_layer_range", names, known)
    return [known.spelling(names), *texts(value)]


def _verbosity(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """The scale from 0 to 5 is of 2026; builds before it say what memory they take without being asked."""
    flag = known.first(spelling("verbosity").on)
    return _valued("verbosity", value, asked, known) if asked or (flag and "4: trace" in flag.text) else []


def _fit(value: OptionValue, asked: bool, known: Capabilities) -> Argv:
    """Builds that cannot fit do what `off` asks for."""
    return _valued("fit", value, asked and value != "off", known)


_SPECIAL: Final[dict[str, Callable[[OptionValue, bool, Capabilities], Argv]]] = {
    "flash_attn": _flash_attn,
    "n_gpu_layers": _layers("n_gpu_layers"),
    "n_gpu_layers_draft": _layers("n_gpu_layers_draft"),
    "reasoning": _reasoning,
    "fit": _fit,
    "spec_type": _spec_type,
    "lora_scaled": _scaled("lora_scaled"),
    "control_vector_scaled": _scaled("control_vector_scaled"),
    "control_vector_layer_range": _layer_range,
    "verbosity": _verbosity,
}


def _free(key: str, arg: ArgValue, known: Capabilities) -> Argv:
    """One entry of `args`: true = bare flag, a list joins or repeats, everything else is one argument."""
    names = ("--" + key, "-" + key)
    flag = known.first(names)
    if flag is None:
        raise lost(f"args.{key}", names, known)
    spelled = known.spelling(names)
    if arg is True:
        if flag.takes_value:
            raise StartFailed(f"args.{key} needs a value: {spelled} takes {flag.hint}.", permanent=True)
        return [spelled]
    if not flag.takes_value:
        raise StartFailed(f"args.{key} takes no value: write true, or false to leave it out.", permanent=True)
    if flag.hint.count(" ") == 1 and isinstance(arg, tuple) and flag.hint.replace(" ", "").isupper():
        return [spelled, *(text_of(value) for value in arg)]  # `--control-vector-layer-range START END`
    return _with_values(spelled, arg if isinstance(arg, tuple) else (arg,), flag)
