"""The demo's folder and its questions."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cli import asking, demo
from corral.domain.errors import Conflict, PlaceFailed
from corral.gateway.routes.table import HOT


def test_every_route_to_an_engine_is_asked_or_left_out_with_a_reason() -> None:
    asked = {question.path.split("?")[0] for question in asking.questions(["alder"], "cedar")}
    reasons = " ".join((*asking.LEFT_OUT, *asking.LEFT_OUT.values()))
    for path in (path.decode() for path in HOT):
        assert path in asked or path.removeprefix("/v1") in reasons or path.startswith(("/rerank", "/v1/rerank")), path


def test_the_demo_is_written_once_and_kept(tmp_path: Path) -> None:
    config = Path(demo.prepare(str(tmp_path / "demo")))
    assert sorted(path.name for path in config.parent.iterdir()) == [
        "alder.gguf",
        "birch.gguf",
        "cedar.gguf",
        "corral.yaml",
    ]
    assert all(path.stat().st_size < 2 * 1024**2 for path in config.parent.iterdir())
    changed = config.read_text() + "# mine\n"
    config.write_text(changed)
    demo.prepare(str(config.parent))
    assert config.read_text() == changed, "what a user changed in the demo stays"


def test_a_foreign_config_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "corral.yaml").write_text("models: {}\n")
    with pytest.raises(Conflict, match="is not the demo's"):
        demo.prepare(str(tmp_path))
    assert (tmp_path / "corral.yaml").read_text() == "models: {}\n"
    assert not (tmp_path / "alder.gguf").exists()


def test_what_is_said_names_everything(tmp_path: Path) -> None:
    text = demo.welcome("http://127.0.0.1:1", "/d/corral.yaml")
    for part in (
        "curl -s http://127.0.0.1:1/v1/chat/completions",
        "OPENAI_BASE_URL=http://127.0.0.1:1/v1",
        "OPENAI_API_KEY",
        "export CORRAL_CONFIG=/d/corral.yaml",
        "run alder",
    ):
        assert part in text


def test_a_place_that_cannot_be_written_is_told() -> None:
    with pytest.raises(PlaceFailed, match="The demo cannot be written into /dev/null: ") as caught:
        demo.prepare("/dev/null")
    assert "--dir" in caught.value.hint
