"""Whatever a file holds, it gives Settings or ConfigErrors: never another exception."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.config.explain import shown_config
from corral.config.files import parse, read_file
from corral.config.load import load_document
from corral.config.problems import ConfigErrors
from corral.config.schema import Config, Group, Key, Model
from tests.unit.config.conftest import OPTIONS, Rules

ENGINES = {"llamacpp": Rules(), "other": Rules()}
SECTIONS = [Config, Model, Group, Key, *(field.annotation for field in Config.model_fields.values())]
NAMES = sorted(
    {name for section in SECTIONS for name in getattr(section, "model_fields", ())}
    | {spec.name for spec in OPTIONS}
    | {"a", "b", "llamacpp", "other", "<<", "x-y", "", "1"}
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["a", "b", "${env.A}", "${env.NO:-1}",
        "{{ a }}", "{{ models.a.source }}", "x${y}", "10m", "never"]),
    st.sampled_from(["1GiB", "auto", "0.0.0.0", "/x.gguf", "~/y", "path:z", "\0", "llamacpp", "other", "inference"]),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=4)
)
MODEL = st.dictionaries(st.sampled_from([*Model.model_fields]), VALUES)
MODELS = st.dictionaries(st.sampled_from(["a", "b", "c d"]), MODEL)
CONFIGS = st.fixed_dictionaries({}, optional=dict.fromkeys(Config.model_fields, VALUES) | {"models": MODELS})


def load(text: str) -> None:
    try:
        document = parse(text, file="c.yaml")
        loaded = load_document(
            document, engines=ENGINES, env={"HOME": "/h", "A": "5"}, command_line={"server.port": 1}, cwd="/w"
        )
        shown_config(loaded.config)
    except ConfigErrors as error:
        error.sentence()


@settings(max_examples=150, deadline=None)
@given(CONFIGS)
def test_any_structure(data: dict[str, Any]) -> None:
    load(yaml.safe_dump(data))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!#|>'\"%@` \n\t,?<${.}e0-9~"), max_size=60))
def test_any_text(text: str) -> None:
    load(text)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "c.yaml")
        file.write_bytes(data)
        with contextlib.suppress(ConfigErrors):
            read_file(str(file))
