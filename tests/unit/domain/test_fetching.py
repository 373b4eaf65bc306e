"""How far a fetch is, as rows and back."""

from __future__ import annotations

import pytest

from corral.domain.fetching import Progress

HALF = Progress(500, 1000, per_s=100.0, files_done=1, files=3, file="a.gguf", doing="verifying")


@pytest.mark.parametrize("progress", [HALF, Progress(0, None), Progress(1, 3, doing="looking")])
def test_a_row_says_all_of_it(progress: Progress) -> None:
    assert Progress.of_row(progress.row()) == progress


def test_a_row_says_how_much_and_for_how_long() -> None:
    row = HALF.row()
    assert (row["progress"], row["bytes_per_s"], row["left_s"]) == (0.5, 100, 5.0)
    assert Progress(5, None).row()["progress"] is None


def test_a_row_of_another_version() -> None:
    assert Progress.of_row({"done_bytes": 7, "what": 1}) == Progress(7, None)
