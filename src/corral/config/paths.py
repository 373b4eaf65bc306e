"""Where the config file and the folders of Corral lie: `--config`, `$CORRAL_CONFIG`, `./corral.yaml`, XDG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from corral.domain.errors import ConfigError

CONFIG_NAME: Final = "corral.yaml"
TOML_NAME: Final = "corral.toml"


def config_dir(env: Mapping[str, str]) -> str:
    """`$XDG_CONFIG_HOME/corral`, else `~/.config/corral`."""
    return os.path.join(_xdg(env, "XDG_CONFIG_HOME", ".config"), "corral")


def state_dir(env: Mapping[str, str]) -> str:
    """The default for `state_dir`: `$XDG_STATE_HOME/corral`, else `~/.local/state/corral`."""
    return os.path.join(_xdg(env, "XDG_STATE_HOME", os.path.join(".local", "state")), "corral")


def cache_dir(env: Mapping[str, str]) -> str:
    """`$XDG_CACHE_HOME/corral`, else `~/.cache/corral`: what is in it can be made again."""
    return os.path.join(_xdg(env, "XDG_CACHE_HOME", ".cache"), "corral")


def store_dir(env: Mapping[str, str]) -> str:
    """The default for `store.path`: `$XDG_DATA_HOME/corral/models`, else `~/.local/share/corral/models`."""
    return os.path.join(_xdg(env, "XDG_DATA_HOME", os.path.join(".local", "share")), "corral", "models")


def control_socket(state_dir: str) -> str:
    """Where the Corral of this state directory listens for its owner."""
    return os.path.join(state_dir, "control.sock")


def _xdg(env: Mapping[str, str], variable: str, under_home: str) -> str:
    """The XDG rule: a relative path in the variable counts as unset."""
    value = env.get(variable, "")
    return value if os.path.isabs(value) else os.path.join(home(env), under_home)


def home(env: Mapping[str, str]) -> str:
    """The user's home folder."""
    return env.get("HOME") or os.path.expanduser("~")


def candidates(explicit: str, env: Mapping[str, str], cwd: str) -> list[tuple[str, str]]:
    """Every place where a config is looked for, in order, as (path, why)."""
    found = []
    if explicit:
        found.append((os.path.join(cwd, explicit), "--config"))
    if env.get("CORRAL_CONFIG"):
        found.append((os.path.join(cwd, env["CORRAL_CONFIG"]), "$CORRAL_CONFIG"))
    found.append((os.path.join(cwd, CONFIG_NAME), "the working directory"))
    found += [(os.path.join(config_dir(env), name), "the user's config folder") for name in (CONFIG_NAME, TOML_NAME)]
    return found


def find_config(explicit: str, env: Mapping[str, str], cwd: str) -> str:
    """
    The config file to read, or "" when there is none.

    A file that was named (`--config`, `$CORRAL_CONFIG`) is returned even if it does not exist: reading it then says so.
    Raises ConfigError where the user's folder has both a YAML and a TOML file: to take one of them would be a guess.
    """
    for path, why in candidates(explicit, env, cwd):
        if why.startswith(("--", "$")):
            return path
        if os.path.exists(path):
            other = os.path.join(os.path.dirname(path), TOML_NAME)
            if other != path and os.path.exists(other):
                raise ConfigError(
                    f"{TOML_NAME} lies beside it.",
                    file=path,
                    hint="Remove one of them, or name the right one: --config.",
                )
            return path
    return ""


def resolve(path: str, base: str, env: Mapping[str, str]) -> str:
    """`~` expanded; a relative path made absolute against `base`."""
    if path == "~" or path.startswith("~/"):
        path = os.path.join(home(env), path[2:])
    elif path.startswith("~"):
        path = os.path.expanduser(path)
    return os.path.normpath(os.path.join(base, path))
