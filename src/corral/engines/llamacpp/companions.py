"""
Options that name files and folders beside the Model's own: which they are, and how `FILE:SCALE` is read. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from corral.domain.fleet import OptionValue

SCALED: Final = ("lora_scaled", "control_vector_scaled")
"""Options whose entries are `FILE:SCALE`."""
MODELS: Final = ("mmproj", "model_draft", "lora", "lora_scaled", "control_vector", "control_vector_scaled")
"""Second sources: GGUF files, which may be split like the Model's own."""
TEXTS: Final = ("chat_template_file", "grammar_file", "json_schema_file", "lookup_cache_static")
"""Other files that must be there."""
FOLDERS: Final = ("media_path", "video_ffmpeg_dir")
"""Folders that must be there."""
MADE: Final = ("slot_save_path", "lookup_cache_dynamic")
"""What is made where it is not there."""


def texts(value: OptionValue) -> tuple[str, ...]:
    """The texts of an option that holds one or several."""
    return value if isinstance(value, tuple) else (str(value),)


def named(options: Mapping[str, OptionValue], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(option, path) of every file that these options name."""
    for name in names:
        for entry in texts(options.get(name, ())):
            yield name, scaled(entry)[0] if name in SCALED else entry


def scaled(entry: str) -> tuple[str, float | None]:
    """`/a.gguf:0.5` -> the file and its scale; None for an entry that has no scale."""
    path, colon, scale = entry.rpartition(":")
    try:
        return (path, float(scale)) if colon else (entry, None)
    except ValueError:
        return entry, None
