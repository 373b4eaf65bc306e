"""A Corral of one's own for one command: a child process with a state directory of its own, that dies with us."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from corral.cli import connect, ending
from corral.domain.errors import PlaceFailed

START_S: Final = 60.0
STOP_S: Final = 20.0
_FOLDER: Final = "corral-"
KEY_VARIABLE: Final = "CORRAL_PRIVATE_KEY"
"""How a parent tells its private Corral a key: the environment is the owner's alone to see, argv is everybody's."""


def all_running() -> list[connect.Corral]:
    """Those of other commands of this user, as far as their folders are where ours would be; some may be gone."""
    from corral.config import paths

    found = []
    for folder in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), f"{_FOLDER}*")):
        with contextlib.suppress(OSError):
            status = os.stat(folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
                found.append(connect.Corral(socket_path=paths.control_socket(folder), ends_with_us=True))
    return found


@contextlib.contextmanager
def started(
    arguments: Sequence[str], *, key: str = "", variables: Mapping[str, str] | None = None
) -> Iterator[connect.Corral]:
    """
    `corral serve --child ARGUMENTS`, reachable inside the block and gone after it.

    `key` is the one that its TCP port will take; without it nobody knows one. `variables` go into its environment.
    The child ends when its stdin ends, so it outlives no kind of death of ours. Raises PlaceFailed with what it said
    when it does not come up.
    """
    folder = tempfile.mkdtemp(prefix=_FOLDER)  # mode 0700
    log = os.path.join(folder, "serve.log")
    command = [sys.executable, "-m", "corral", "serve", "--child", "--state-dir", folder, *arguments]
    env = {**os.environ, **(variables or {}), **({KEY_VARIABLE: key} if key else {})}
    try:
        with open(log, "wb") as output:
            # Its own session: Ctrl-C on the terminal is for the chat, not for the server.
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=env, start_new_session=True
            )
        try:
            with ending.like_ctrl_c():
                yield _ready(child, folder, log)
        finally:
            _end(child)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ready(child: subprocess.Popen[bytes], folder: str, log: str) -> connect.Corral:
    from corral.config import paths

    corral = connect.Corral(socket_path=paths.control_socket(folder), ends_with_us=True)
    deadline = time.monotonic() + START_S
    while not corral.running():
        if child.poll() is not None:
            raise PlaceFailed(_last_words(log) or "The private Corral ended at once.")
        if time.monotonic() > deadline:
            raise PlaceFailed(f"The private Corral did not start within {START_S:.0f} s. {_last_words(log)}")
        time.sleep(0.02)
    return corral


def _last_words(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file.readlines()[-50:]]
    told = [line.removeprefix("corral: ") for line in lines if line.startswith("corral: ")]
    return "\n".join(told) or next((line for line in reversed(lines) if line), "")


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(STOP_S)
