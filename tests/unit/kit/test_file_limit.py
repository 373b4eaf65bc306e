"""Raising the limit of open files."""

from __future__ import annotations

import resource

import pytest

from corral.kit.file_limit import raise_file_limit

INFINITY = resource.RLIM_INFINITY


class System:
    """What the system would say."""

    def __init__(self, soft: int, hard: int, *, refuses: bool = False) -> None:
        self.limits = (soft, hard)
        self.refuses = refuses

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, which: int, limits: tuple[int, int]) -> None:
        if self.refuses:
            raise ValueError("no")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 524_288, 20_000),
        (1024, 4096, 4096),
        (1024, INFINITY, 20_000),
        (65_536, 65_536, 65_536),
        (INFINITY, INFINITY, INFINITY),
    ],
)
def test_as_many_as_are_wanted_and_allowed(soft: int, hard: int, then: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    assert raise_file_limit(20_000) == then
    assert system.limits == (then, hard)


def test_a_system_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(256, INFINITY, refuses=True)
    monkeypatch.setattr(resource, "getrlimit", system.get)
    monkeypatch.setattr(resource, "setrlimit", system.set)
    assert raise_file_limit(20_000) == 256
