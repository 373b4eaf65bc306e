"""Every target on its seeds, on every input that ever failed, and on what hypothesis makes of the seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import wires
from tests.fuzz.targets import CUT, TARGETS

HERE = Path(__file__).parent
CASES = sorted((path.parent.name, path) for folder in ("corpus", "crashes") for path in HERE.glob(f"{folder}/*/*"))


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Iterator[None]:
    yield
    wires.close()


def test_every_target_has_seeds() -> None:
    assert {target for target, path in CASES if path.parent.parent.name == "corpus"} == set(TARGETS)


@pytest.mark.parametrize(("target", "path"), CASES, ids=[f"{target}/{path.name}" for target, path in CASES])
def test_corpus(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_damaged(target: str) -> None:
    inputs = [path.read_bytes() for name, path in CASES if name == target]
    words = [
        CUT,
        b"\r\n",
        b"\n\n",
        b"\0",
        b"chunked",
        b"Content-Length: 1\r\n",
        b"data: ",
        b"E",
        b"X",
        b"K",
        b"${",
        b"{{",
    ]

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.sampled_from(inputs), st.randoms(use_true_random=False), st.integers(1, 6))
    def run(data: bytes, rng: random.Random, damages: int) -> None:
        for _ in range(damages):
            at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
            kind = rng.randrange(4)
            if kind == 0:
                data = data[:at] + rng.choice(words) + data[at:]
            elif kind == 1:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            elif kind == 2:
                data = data[:at] + data[min(end, at + 64) :]
            else:
                data = data[:end] + data[at : min(end, at + 256)] + data[end:]
        TARGETS[target](data)

    run()
