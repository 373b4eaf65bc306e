import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.domain.units import FOREVER, format_bytes, format_duration, format_parameters, parse_bytes, parse_duration


def short(value: object) -> str:
    """Of an argument, for the name of its test."""
    return repr(value)[:20]


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1GiB", 2**30), ("1.5 GiB", 3 * 2**29), ("4 GB", 4 * 10**9), ("512MiB", 2**29), (7, 7), ("2g", 2**31)],
)
def test_sizes(text: str | int, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "1 XB", "-1", "1e9", "1GiB free", True, -1, "9" * 400, "1" + "0" * 400 + "GiB", 1 << 63],
    ids=short,
)
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"size|more than there can be") as caught:
        parse_bytes(text)
    assert len(str(caught.value)) < 130


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("90", 90),
        (0, 0),
        (1.5, 1.5),
        ("never", FOREVER),
        ("2d", 172800),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "m", "10 minutes", "-5s", "1h30", "1x", True, -1, float("nan"), "9" * 400, "9" * 400 + "d", 10**400],
    ids=short,
)
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 2**50))
def test_a_printed_size_reads_back_within_its_rounding(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.06, abs=1)


def test_durations_for_people() -> None:
    assert [format_duration(s) for s in (0.25, 12, 3900, 90061, FOREVER)] == ["250ms", "12s", "1h 5m", "1d 1h", "never"]


def test_parameters_as_models_are_named() -> None:
    counts = (None, 0, 999, 58_240, 494_000_000, 8_030_000_000, 1_040_000_000_000)
    assert [format_parameters(count) for count in counts] == ["", "", "999", "58.2K", "494M", "8.0B", "1.0T"]
    near = (99_960, 999_499, 999_500, 999_960_000)
    assert [format_parameters(count) for count in near] == ["100K", "999K", "1.0M", "1.0B"]
