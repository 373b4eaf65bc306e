"""
Whatever a file holds, it gives Settings, or ConfigErrors with file and line: never another exception.

What once broke the loader stands in `corpus/`, and is tried again each time.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.config.explain import shown_config
from corral.config.files import merge, parse, read_file
from corral.config.load import load_document
from corral.config.overrides import COMMAND_LINE
from corral.config.problems import ConfigErrors
from corral.config.schema import Config, Group, Key, Model
from tests.unit.config.conftest import OPTIONS, Rules

CORPUS = Path(__file__).parent / "corpus"
ENGINES = {"llamacpp": Rules(), "other": Rules()}
SECTIONS = [Config, Model, Group, Key, *(field.annotation for field in Config.model_fields.values())]
NAMES = sorted(
    {name for section in SECTIONS for name in getattr(section, "model_fields", ())}
    | {spec.name for spec in OPTIONS}
    | {"a", "b", "llamacpp", "other", "<<", "x-y", "", "1", "${a}", "port", "model"}
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["a", "b", "${env.A}", "${env.NO:-1}", "{{ a }}", "{{ models.a.source }}", "{{ models.a }}",
        "x${y}", "${a}", "${b}-${a}", "${null}", "{model}", "{port}", "{{ macros.a }}", "10m", "never"]),
    st.sampled_from(["1GiB", "auto", "0.0.0.0", "/x.gguf", "~/y", "path:z", "\0", "llamacpp", "other", "inference"]),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=4)
)
MACROS = st.dictionaries(st.sampled_from(["a", "b", "c", "port", "${a}"]), VALUES, max_size=3)
MODEL = st.fixed_dictionaries({}, optional=dict.fromkeys(Model.model_fields, VALUES) | {"macros": MACROS})
MODELS = st.dictionaries(st.sampled_from(["a", "b", "c d"]), MODEL)
CONFIGS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(Config.model_fields, VALUES) | {"models": MODELS, "macros": MACROS}
)


def load(text: str, file: str = "c.yaml") -> None:
    try:
        document = parse(text, file=file)
        loaded = load_document(
            document, engines=ENGINES, env={"HOME": "/h", "A": "5"}, command_line={"server.port": 1}, cwd="/w"
        )
        shown_config(loaded.config)
    except ConfigErrors as error:
        problems = error.problems
    else:
        problems = ()
    for problem in problems:
        assert problem.sentence() and problem.file in (file, COMMAND_LINE)
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1
        assert problem.line or problem.file == COMMAND_LINE or "more problems" in problem.message, problem.message


@settings(max_examples=150, deadline=None)
@given(CONFIGS)
def test_any_structure(data: dict[str, Any]) -> None:
    load(yaml.safe_dump(data))


def without_nothing(value: Any) -> Any:
    """The same as TOML can hold it: no null, whole numbers of 64 bits."""
    if isinstance(value, dict):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nothing(item) for item in value if item is not None]
    return value


@settings(max_examples=100, deadline=None)
@given(CONFIGS)
def test_any_structure_in_toml(data: dict[str, Any]) -> None:
    load(tomlkit.dumps(without_nothing(data)), "c.toml")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!#|>'\"%@` \n\t,?<${.}e0-9~"), max_size=60))
def test_any_text(text: str) -> None:
    load(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab=.[]{}'\"# \n\t,$_-0-9T:\r"), max_size=60))
def test_any_text_as_toml(text: str) -> None:
    load(text, "c.toml")


@settings(max_examples=100, deadline=None)
@given(st.lists(CONFIGS, min_size=2, max_size=3))
def test_any_structures_merged(parts: list[dict[str, Any]]) -> None:
    """Merging takes whatever can be parsed, and every key of the whole has its file."""
    documents = []
    for index, data in enumerate(parts):
        with contextlib.suppress(ConfigErrors):
            documents.append(parse(yaml.safe_dump(data), file=f"{index}.yaml"))
    try:
        whole = merge("folder", documents)
    except ConfigErrors as error:
        assert error.problems[0].file.endswith(".yaml")  # noqa: PT017 - what it raises is what is tested
        return
    assert set(whole.owners) == set(whole.lines)
    with contextlib.suppress(ConfigErrors):
        load_document(whole, engines=ENGINES, env={"HOME": "/h"}, cwd="/w")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["c.yaml", "c.toml"]))
def test_any_bytes(data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(data)
        with contextlib.suppress(ConfigErrors):
            read_file(str(file))


@pytest.mark.parametrize("file", sorted(CORPUS.iterdir()), ids=lambda file: file.name)
def test_what_broke_it_once(file: Path) -> None:
    load(file.read_bytes().decode("utf-8", "replace"), file.name)
