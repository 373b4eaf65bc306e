"""docs/engines/command.md: every example is a config that Corral takes, and its figures are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from corral.config.jsonschema import json_schema
from corral.config.load import load_all
from corral.domain.fleet import ModelSpec
from corral.domain.launch import LaunchPlan, Place
from corral.engines.command.pattern import OPEN_ENDS
from corral.engines.command.placeholders import ENV_WORDS, STOP_WORDS
from corral.engines.command.ready import NOT_THERE_S
from corral.registry import engines
from corral.scheduler.listening import LINE_LIMIT

TEXT = (Path(__file__).parents[2] / "docs" / "engines" / "command.md").read_text("utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def read(text: str, folder: Path) -> ModelSpec:
    """The one Model of an example."""
    file = folder / "corral.yaml"
    file.write_text(text)
    loaded = load_all(str(file), engines=engines(), env={"HOME": "/home/user"}, cwd=str(folder))
    (model,) = loaded.settings.fleet.models.values()
    return model


@pytest.mark.parametrize("text", EXAMPLES, ids=re.findall(r"```yaml\nmodels:\n  (\w+):", TEXT))
async def test_every_example_is_a_config_that_can_be_started(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read(text, tmp_path)
    command = model.options["command"]
    assert isinstance(command, tuple)
    # Its program and files, as they would be on a machine that has them.
    cwd = Path(str(model.options["cwd"]).replace("/home/user", str(tmp_path)))
    program = cwd / command[0].removeprefix("./") if "/" in command[0] else tmp_path / "bin" / command[0]
    for path in (program, *([Path(model.source.path)] if model.source.path else [])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    model = ModelSpec(
        model.name, model.source, engine="command", options={**model.options, "cwd": str(cwd)}, args=model.args,
        env=model.env,
    )  # fmt: skip
    plan = await engines()["command"].plan(model, Place("i", str(tmp_path), socket="/run/corral/i.sock"))
    assert isinstance(plan, LaunchPlan)
    assert plan.argv[0] == str(program)
    left = [word for word in (*plan.argv, *plan.env.values()) if re.search(r"\{[a-z_]+\}", word)]
    assert left == [], "every placeholder is filled in"


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_published_schema_takes_every_example(text: str) -> None:
    schema = json_schema({name: engine.options for name, engine in engines().items()})
    jsonschema.validate(yaml.safe_load(text), schema)


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    schema = json_schema({name: engine.options for name, engine in engines().items()})
    wrong: tuple[dict[str, object], ...] = (
        {"command": []}, {"command": 3}, {"memory": {"ram": [1]}}, {"stop_signal": "TERM"},
    )  # fmt: skip
    for options in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"models": {"m": {"engine": "command", "options": options}}}, schema)


def test_the_placeholders_are_on_the_page() -> None:
    rows = set(re.findall(r"^\| `\{(\w+)\}` \|", TEXT, re.MULTILINE))
    assert rows == STOP_WORDS | ENV_WORDS


def test_the_figures_are_those_of_the_code() -> None:
    assert f"the first {LINE_LIMIT} characters" in TEXT
    assert f"answers 404 or 405 for {NOT_THERE_S:g} s" in TEXT
    assert OPEN_ENDS == 2 and "more than two open ends" in TEXT
