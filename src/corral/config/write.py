"""The starter file that `corral config init` writes, and writing a config without ever losing one."""

from __future__ import annotations

import os

from corral.domain.errors import ConfigError, Conflict

STARTER = """\
# Corral's configuration. `corral config validate` checks it, `corral config explain KEY` tells about a key.
# Every key has a default; a line that begins with "# " shows one that may be of use.
version: 1

server:
  host: 127.0.0.1
  port: 11435
  # To serve other machines, listen on all addresses and give out keys. This one is read from the environment:
  # export CORRAL_MY_KEY="$(openssl rand -hex 32)"
  # host: 0.0.0.0
  # keys:
  #   - {name: me, key: "${env.CORRAL_MY_KEY}", scopes: [inference, admin]}

memory:
  ram: auto                # what the machine or its cgroup has, less `reserve`; or a size such as 24GiB
  reserve: 1GiB

defaults:
  ttl: 10m                 # an idle Model is unloaded after this; `never` keeps it
  # options:
  #   llamacpp: {ctx_size: 8192}

# One entry for each Model: the name that clients ask for, and the .gguf file (a relative path counts from this folder).
models:
  # my-model:
  #   source: ~/models/my-model-Q4_K_M.gguf
  #   aliases: [default]
  #   options:
  #     ctx_size: 32768    # tokens, all slots together
  #     parallel: 4        # slots: requests that it answers at one time
  #     n_gpu_layers: auto

# Models of a swap group take turns: only one of them is loaded at a time.
groups:
  # big: {members: [my-model], swap: true}
"""


def write_new(path: str, text: str, *, force: bool = False) -> None:
    """
    Write a config file (mode 0600: it may come to hold keys), whole or not at all.

    Raises Conflict when the file is there already and `force` is not given, ConfigError when it cannot be written or
    its folder does not exist: a folder that nobody asked for may be a slip of the pen.
    """
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise ConfigError(f"there is no folder {folder}.", file=path, hint="Create it, or correct the path.")
    try:
        if force:
            _write(f"{path}.{os.getpid()}.new", text)
            os.replace(f"{path}.{os.getpid()}.new", path)
        else:
            _write(path, text)
    except FileExistsError:
        raise Conflict(f"{path} exists already.", hint="`--force` replaces it.") from None
    except OSError as error:
        raise ConfigError(f"the file cannot be written: {error.strerror}", file=path) from None


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
