"""Short ways to write an OptionSpec."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionKind, OptionSpec

KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
TRI: Final = ("on", "off", "auto")


def whole(
    name: str,
    help: str,
    unit: str = "",
    *,
    low: float | None = 0,
    high: float | None = None,
    default: int | str | None = None,
    words: tuple[str, ...] = (),
) -> OptionSpec:
    """A whole number, 0 or more unless told."""
    return OptionSpec(name, OptionKind.INT, help, default, words, low, high, unit)


def real(name: str, help: str, unit: str = "", *, low: float | None = None, high: float | None = None) -> OptionSpec:
    """A number."""
    return OptionSpec(name, OptionKind.FLOAT, help, minimum=low, maximum=high, unit=unit)


def switch(name: str, help: str, *, default: bool | None = None) -> OptionSpec:
    """true or false."""
    return OptionSpec(name, OptionKind.BOOL, help, default)


def choice(name: str, help: str, words: tuple[str, ...], *, default: str | None = None) -> OptionSpec:
    """One of these words."""
    return OptionSpec(name, OptionKind.ENUM, help, default, words)


def text(name: str, help: str) -> OptionSpec:
    """Any text."""
    return OptionSpec(name, OptionKind.STR, help)


def path(name: str, help: str) -> OptionSpec:
    """One file or folder."""
    return OptionSpec(name, OptionKind.PATH, help)


def paths(name: str, help: str) -> OptionSpec:
    """Several files."""
    return OptionSpec(name, OptionKind.PATHS, help)


def several(name: str, help: str) -> OptionSpec:
    """Several texts or numbers."""
    return OptionSpec(name, OptionKind.LIST, help)


def mib(name: str, help: str, *, low: float = 0, default: int | None = None) -> OptionSpec:
    """Memory, in MiB for llama.cpp."""
    return OptionSpec(name, OptionKind.SIZE, help, default, minimum=low, unit="MiB")
