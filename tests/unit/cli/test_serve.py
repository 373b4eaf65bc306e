"""What `corral serve` says when it is ready."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from corral.app import AppInfo
from corral.cli.serve import _announce
from corral.config.settings import LogSpec, Settings
from corral.domain.fleet import Fleet, ModelSpec
from corral.domain.serving import ServerSpec
from tests.unit.cli.conftest import Command


def settings(*models: str) -> Settings:
    fleet = Fleet(models={name: ModelSpec(name=name) for name in models})
    return Settings(fleet=fleet, server=ServerSpec(), log=LogSpec(), state_dir="/s", config_file="/c/corral.yaml")


def said(capsys: pytest.CaptureFixture[str], given: Settings) -> list[str]:
    _announce(AppInfo("http://h:1", "/s", given))
    return capsys.readouterr().err.splitlines()


def test_the_models_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, settings("a"))[0] == "Corral serves 1 Model at http://h:1/v1: a"
    assert said(capsys, settings(*"abcdefghij"))[0].endswith("a, b, c, d, e, f, g, h and 2 more")


def test_without_models_it_says_how_to_add_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, settings())[0] == (
        "Corral listens at http://h:1/v1 and has no Models yet: "
        f"add them to /c/corral.yaml, then `kill -HUP {os.getpid()}` makes it read the file again."
    )
    assert "give it model files or a config" in said(capsys, replace(settings(), config_file=""))[0]


def test_the_port_for_ollamas_clients_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert not any("Ollama" in line for line in said(capsys, settings("a")))
    _announce(AppInfo("http://h:1", "/s", settings("a"), "http://h:2"))
    assert "Ollama's clients find it at http://h:2." in capsys.readouterr().err.splitlines()


def test_programs_read_the_log_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, replace(settings(), log=LogSpec(format="json"))) == []


def test_a_toml_file_that_is_not_read_is_pointed_at(corral: Command) -> None:
    assert "corral.toml" not in corral("serve").err
    Path("corral.toml").touch()
    ran = corral("serve")
    assert ran.code == 2 and "`corral serve --config corral.toml`" in ran.err
