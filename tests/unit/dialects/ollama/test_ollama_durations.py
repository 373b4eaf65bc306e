"""`keep_alive`, in all its forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.dialects.ollama.durations import keep_s
from corral.domain.errors import BadRequest


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [
        (None, None),
        ("", None),
        (300, 300.0),
        (0.5, 0.5),
        (0, 0.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1m30s500ms", 90.5),
        ("+10s", 10.0),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("3ns", 3e-9),
        (-1, math.inf),
        (-0.1, math.inf),
        ("-1s", math.inf),
        ("-1m", math.inf),
    ],
)
def test_it_is_so_long(given_: float | str | None, seconds: float | None) -> None:
    assert keep_s(given_) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize("wrong", ["10", "-1", "m", "10 m", "1d", "for ever", "1h-30m", "٣s", "9" * 200 + "s", "1e3s"])
def test_what_is_no_duration(wrong: str) -> None:
    with pytest.raises(BadRequest, match="keep_alive"):
        keep_s(wrong)


@given(st.text(max_size=60) | st.from_regex(r"[-+]?([0-9.]{1,6}(h|m|s|ms|us|ns)){1,5}", fullmatch=True))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = keep_s(text)
    except BadRequest:
        return
    assert seconds is None or seconds >= 0
