"""
Large configs: ten thousand Models are quick, and ten megabytes of anything end in a bounded time.

Measured on one core of 2026: 10,000 Models 1.2 s; 10 MB at most 4 s of YAML and 15 s of TOML (whose parser is Python).
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from corral import registry
from corral.config.load import load_all
from corral.config.problems import ConfigErrors
from tests.unit.config.conftest import Loader

MANY: list[tuple[str, float, str, str, str]] = [
    ("one long text", 10, "x-a: '", "x", "'\n"),
    ("comments", 10, "", "# c\n", "x-a: 1\n"),
    ("a long list", 10, "x-a: [", "1,", "]\n"),
    ("brackets", 10, "x-a: ", "[", ""),
    ("twice the same key", 2, "", "a: 1\n", ""),
    ("circles", 2, "macros:\n  a: ${b}\n  b: ${a}\nx-a:\n", "- ${a}\n", ""),
    ("aliases", 2, "x-b: &b {a: {c: 1}}\nx-a:\n", "- *b\n", ""),
    ("toml list", 0.5, "x-a = [", "1,", "]\n"),
    ("toml tables", 0.5, "", "[[x-a]]\n", ""),
    ("toml key", 10, "a", ".a", " = 1"),
    ("toml text", 10, "x-a = '", "x", "'\n"),
]
"""What it is, megabytes, and the text: begin, repeated, end."""


def seconds(loader: Loader, text: str) -> tuple[float, list[str]]:
    began = time.process_time()
    try:
        loader(text)
    except ConfigErrors as error:
        told = [problem.message for problem in error.problems]
    else:
        told = []
    return time.process_time() - began, told


@pytest.mark.parametrize(("kind", "size", "begin", "repeated", "end"), MANY, ids=[each[0] for each in MANY])
def test_megabytes_of_anything_end(config: Loader, kind: str, size: float, begin: str, repeated: str, end: str) -> None:
    if kind.startswith("toml"):
        config.file = str(config.folder / "corral.toml")
    took, told = seconds(config, begin + repeated * int(size * 1_000_000 / len(repeated)) + end)
    assert took < 15.0  # 2 s and less where nothing else runs
    assert len(told) <= 51


def test_a_file_beyond_the_bound_is_refused_unread(config: Loader) -> None:
    took, told = seconds(config, "# c\n" * (4 * 1024**2 + 1))
    assert took < 2.0 and told == [f"{config.file}: the file is larger than 16 MiB"]


@pytest.mark.parametrize("kind", ["yaml", "toml"])
def test_ten_thousand_models(tmp_path: Path, kind: str) -> None:
    """With the real engine's checks. The bound is wide, for machines that do other things beside."""
    yaml = (
        "  m{i}:\n    source: ${dir}/{model}.gguf\n    aliases: [a{i}]\n    options: {ctx_size: 8192}\n    ttl: 30m\n"
    )
    toml = '[models.m{i}]\nsource = "${dir}/{model}.gguf"\naliases = ["a{i}"]\noptions.ctx_size = 8192\nttl = "30m"\n'
    head, each = ("macros: {dir: /m}\nmodels:\n", yaml) if kind == "yaml" else ("macros.dir = '/m'\n", toml)
    file = tmp_path / f"corral.{kind}"
    file.write_text(head + "".join(each.replace("{i}", str(i)) for i in range(10_000)))
    engines = registry.engines()
    began = time.process_time()
    fleet = load_all(str(file), engines=engines, env={"HOME": "/h"}).settings.fleet
    took = time.process_time() - began
    assert len(fleet.models) == 10_000 and fleet.models["m7"].source.path == "/m/m7.gguf"
    assert took < 10.0, took
