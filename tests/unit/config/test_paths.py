"""Where files are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.config import paths
from corral.domain.errors import ConfigError

HOME = {"HOME": "/home/user"}


def test_the_order_of_the_look_up(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home")}
    cwd = tmp_path / "cwd"
    user = tmp_path / "home" / ".config" / "corral" / "corral.yaml"
    user.parent.mkdir(parents=True)
    cwd.mkdir()
    assert paths.find_config("", env, str(cwd)) == ""
    user.touch()
    assert paths.find_config("", env, str(cwd)) == str(user)
    (cwd / "corral.yaml").touch()
    assert paths.find_config("", env, str(cwd)) == str(cwd / "corral.yaml")
    env["CORRAL_CONFIG"] = "named.yaml"
    assert paths.find_config("", env, str(cwd)) == str(cwd / "named.yaml"), "named, so it must be there"
    assert paths.find_config("given.yaml", env, str(cwd)) == str(cwd / "given.yaml")


def test_nothing_else_in_the_working_directory_is_a_config(tmp_path: Path) -> None:
    for name in ("corral.yml", "config.yaml", ".corral.yaml", "corral.toml"):
        (tmp_path / name).touch()
    assert paths.find_config("", {"HOME": str(tmp_path / "home")}, str(tmp_path)) == ""


def test_xdg_folders() -> None:
    assert paths.config_dir(HOME) == "/home/user/.config/corral"
    assert paths.state_dir(HOME) == "/home/user/.local/state/corral"
    assert paths.cache_dir(HOME) == "/home/user/.cache/corral"
    assert paths.state_dir({**HOME, "XDG_STATE_HOME": "/s"}) == "/s/corral"
    assert paths.state_dir({**HOME, "XDG_STATE_HOME": "relative"}) == "/home/user/.local/state/corral"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("x", "/base/x"),
        ("/x", "/x"),
        ("~/x", "/home/user/x"),
        ("~", "/home/user"),
        ("../x/./y", "/x/y"),
        ("a/~", "/base/a/~"),
    ],
)
def test_paths_are_made_absolute(path: str, found: str) -> None:
    assert paths.resolve(path, "/base", HOME) == found


def test_the_users_folder_may_have_toml_but_not_both(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = home / ".config" / "corral"
    folder.mkdir(parents=True)
    (folder / "corral.toml").touch()
    env = {"HOME": str(home)}
    assert paths.find_config("", env, str(tmp_path)) == str(folder / "corral.toml")
    (folder / "corral.yaml").touch()
    with pytest.raises(ConfigError, match=r"corral\.toml lies beside it"):
        paths.find_config("", env, str(tmp_path))
    (tmp_path / "corral.yaml").touch()
    assert paths.find_config("", env, str(tmp_path)) == str(tmp_path / "corral.yaml")
