"""A process that fetches one file: `python -m tests.paths.fetching_child ROOT URL SIZE SHA256 [POINT NUMBER]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from corral.contracts.fetching import Plan, RemoteFile
from corral.domain.references import WebReference
from corral.store.fetch import attempt
from corral.store.fetch.disk import Disk
from corral.store.fetch.pulling import Pulling
from corral.store.fetch.rules import WebRules
from corral.store.fetch.web import Web

PATH = "web/files/model.bin"


class Fatal:
    """The process is killed at the Nth time that it comes to a point."""

    def __init__(self, point: str, number: int) -> None:
        self._point, self._left = point, number

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def main(root: str, url: str, size: str, sha256: str, point: str = "", number: str = "0") -> None:
    """Fetch it. What comes is flushed every megabyte, so that a small file comes to that point as well."""
    setattr(attempt, "SETTLED_AFTER", 1_000_000)  # noqa: B010  (assigned, it would be no constant to mypy)
    web = Web(WebRules(insecure=True, private=True))
    file = RemoteFile(url, PATH, size_bytes=int(size), sha256=sha256)
    Pulling(Path(root), web, disk=Disk(Fatal(point, int(number)))).fetch(Plan(WebReference(url), (file,)))


if __name__ == "__main__":
    main(*sys.argv[1:])
