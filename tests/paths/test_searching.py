"""`corral models search` on a hub that has a bad day: what it does tell is shown, and nobody waits for the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.file_server import Ask, FileServer, Reply
from tests.paths.shell_kit import Shell, shell
from tests.paths.terminal import CTRL_C, Terminal

__all__ = ["shell"]  # a fixture

GOOD = Reply(body=json.dumps({"siblings": [{"rfilename": "a-Q4_K_M.gguf", "size": 1 << 30}]}).encode())
DAYS = {
    "good": GOOD,
    "broken": Reply(500),
    "busy": Reply(429, {"Retry-After": "60"}),
    "odd": Reply(body=b"[]"),
    "page": Reply(headers={"Content-Type": "text/html"}, body=b"<html>log in</html>"),
    "deaf": Reply(reset=True, cut=0),
    "fine": GOOD,
}


class Hub:
    """Answers with these repositories; `days` says what happens to who asks about one."""

    def __init__(self, **days: Reply) -> None:
        self.days, self.server = days, FileServer(self)

    def __call__(self, ask: Ask) -> Reply:
        if "/api/models?" in ask.path:
            rows = [{"id": f"org/{name}", "downloads": 9 - n} for n, name in enumerate(self.days)]
            return Reply(body=json.dumps(rows).encode())
        return self.days[ask.path.split("/")[4]]


@pytest.fixture
def hub(shell: Shell) -> Iterator[Hub]:
    hub = Hub(**DAYS)
    with hub.server:
        shell.env["HF_ENDPOINT"] = hub.server.origin
        yield hub


def test_one_repository_that_fails_does_not_take_the_others_along(shell: Shell, hub: Hub) -> None:
    began = time.monotonic()
    ran = shell.run("models", "search", "org")
    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - began < 10
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()[1:]}
    assert list(rows) == [f"org/{name}" for name in DAYS]
    for name, row in rows.items():
        assert ("Q4_K_M 1 GiB" in row) == (name in ("org/good", "org/fine")) != row.endswith("?"), row
    assert "the hub did not tell the sizes of 5 of 7 repositories: " in ran.stderr
    assert "Failed to download" not in ran.stderr


def test_programs_are_told_why_a_size_is_missing(shell: Shell, hub: Hub) -> None:
    hub.days = {"good": GOOD, "broken": Reply(500)}
    good, broken = json.loads(shell.run("models", "search", "org", "--json").stdout)
    assert good["problem"] is None and broken["problem"] and not broken["quantisations"]


def test_ctrl_c_ends_it_while_the_hub_says_nothing(shell: Shell, hub: Hub) -> None:
    hub.days = {name: Reply(body=b"{}", hang=True, cut=0) for name in "abcdefgh"}
    with Terminal(shell, "models", "search", "org") as terminal:
        deadline = time.monotonic() + 20
        while sum("/revision/" in ask.path for ask in hub.server.asked) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        began = time.monotonic()
        terminal.types(CTRL_C)
        assert terminal.ends() == 130, terminal.seen
        assert time.monotonic() - began < 5
    assert "Traceback" not in terminal.seen
