"""The starter files: configs as they are, and with everything in them that is commented out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from corral import registry
from corral.config.load import Loaded, load_all
from corral.config.profiles import PROFILES, STARTER

EVERY = {"": STARTER, **PROFILES}


def load(folder: Path, text: str) -> Loaded:
    file = folder / "corral.yaml"
    file.write_text(text)
    env = {"HOME": "/h", "CORRAL_MY_KEY": "0123456789abcdef", "PATH": "/usr/bin:/bin"}
    return load_all(str(file), engines=registry.engines(), env=env, cwd=str(folder))


def uncommented(text: str) -> str:
    """With every line that shows a key; the address stands there twice then."""
    text = text.replace("  host: 127.0.0.1\n", "")
    return re.sub(r"(?m)^(\s+)# (?=\s*[a-z0-9._-]+:|  -)", r"\1", text)


@pytest.mark.parametrize("profile", EVERY)
def test_a_starter_is_a_config_with_its_reasons(tmp_path: Path, profile: str) -> None:
    loaded = load(tmp_path, EVERY[profile])
    assert (loaded.settings.server.port, dict(loaded.settings.fleet.models)) == (11435, {})
    assert len(EVERY[profile].splitlines()) < 70


@pytest.mark.parametrize("profile", EVERY)
def test_what_it_shows_in_comments_is_right_too(tmp_path: Path, profile: str) -> None:
    settings = load(tmp_path, uncommented(EVERY[profile])).settings
    assert settings.fleet.models and settings.fleet.groups and settings.server.keys[0].name == "me"


def test_each_profile_is_right_for_its_machine(tmp_path: Path) -> None:
    def options(profile: str) -> tuple[dict[str, object], dict[str, str]]:
        text = EVERY[profile] + "  g: {members: [m]}\n"
        text = text.replace("\nmodels:\n  #", "\nmodels:\n  m: {source: /m.gguf}\n  #")
        model = load(tmp_path, text).settings.fleet.models["m"]
        return dict(model.options), dict(model.env)

    cpu, _ = options("cpu")
    assert cpu["n_gpu_layers"] == 0 and cpu["ctx_size"] == 8192
    gpu, _ = options("gpu")
    assert gpu["n_gpu_layers"] == "auto"
    halo, env = options("strix-halo-cpu")
    assert halo["n_gpu_layers"] == 0 and env == {"HIP_VISIBLE_DEVICES": "-1"}
