"""Tables: what a row shows, and that logs and names cannot steer the terminal."""

from __future__ import annotations

import io
import json

import pytest

from corral.cli.listing import _device, _row, _waiting_row
from corral.cli.output import line, never_fails, print_json, print_table, printable


def test_a_row_of_a_loaded_model() -> None:
    model = {
        "model": "m", "state": "ready", "rss_bytes": 3 * 1024**3, "ram_bytes": 1, "context_tokens": 4096, "leases": 1,
        "slots": 4, "waiting": 2, "expected_wait_s": 4.0, "ttl_left_s": 61, "pids": [7, 8], "load_s": 1.4,
        "pinned": False, "devices": {"ram": 1, "CUDA0": 2**34, "CUDA1": 2**32},
    }  # fmt: skip
    assert _row(model) == ("m", "ready", "3 GiB", "20 GiB", "4096", "1/4", "2", "4s", "1m 1s", "7", "1s")


def test_a_row_of_one_that_is_not() -> None:
    assert _row({"model": "m", "state": "stopped"}) == ("m", "stopped", "-", "-", "-", "-", "0", "-", "-", "-", "-")
    assert _row({"model": "m", "state": "ready", "pinned": True, "ttl_left_s": None})[8] == "pinned"


def test_a_row_of_one_that_loads() -> None:
    assert _row({"model": "m", "state": "starting", "progress": 0.374})[1] == "starting 37 %"
    assert _row({"model": "m", "state": "starting", "progress": None})[1] == "starting"


def test_a_row_of_one_that_is_fetched() -> None:
    fetching = {"done_bytes": 374, "total_bytes": 1000}
    assert _row({"model": "m", "state": "starting", "fetching": fetching})[1] == "fetching 37 %"
    assert _row({"model": "m", "state": "starting", "fetching": {**fetching, "total_bytes": None}})[1] == "fetching"


def test_a_row_of_one_who_waits() -> None:
    row = {"model": "m", "caller": "ci", "priority": -3, "position": 2, "waited_s": 70.0, "expected_s": 5.2}
    assert _waiting_row(row) == ("m", "2", "ci", "-3", "1m 10s", "5s")
    assert _waiting_row({**row, "expected_s": None})[-1] == "-"
    assert _waiting_row({**row, "held_back": True})[-1] == "own limit"


def test_a_line_of_a_device() -> None:
    gib = 1024**3
    device = {"device": "CUDA0", "present": True, "description": "NVIDIA T4", "total_bytes": 16 * gib,
              "free_bytes": 4 * gib, "budget_bytes": 15 * gib, "counted_bytes": 11 * gib}  # fmt: skip
    assert _device(device) == "Models have 11 GiB of 15 GiB, 4 GiB of 16 GiB free (NVIDIA T4)"
    unlimited = {**device, "budget_bytes": None, "description": ""}
    assert _device(unlimited) == "Models have 11 GiB, 4 GiB of 16 GiB free"
    assert _device({"device": "CUDA0", "present": False}) == "has vanished; Models held 0 B there"


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", "1"), ("long", "100")], right=("n",))
    assert capsys.readouterr().out == "NAME    N\na       1\nlong  100\n"
    print_table(("name", "n"), [])
    assert capsys.readouterr().out == "NAME  N\n"


def test_control_characters_are_replaced() -> None:
    assert line("a\nb\tc\x1bd") == "a\ufffdb\ufffdc\ufffdd"
    assert printable("a\x1b]0;title\x07b\tc") == "a\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}b\tc"


def test_a_name_fakes_no_row_and_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("a\nb\tc", "1"), ("模型", "20"), ("e\N{COMBINING ACUTE ACCENT}t", "3"), ("plain", "4")]
    print_table(("name", "n"), rows, right=("n",))
    assert capsys.readouterr().out.splitlines() == [
        "NAME    N", "a\ufffdb\ufffdc   1", "模型   20", "e\N{COMBINING ACUTE ACCENT}t      3", "plain   4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "errors"), [("ascii", "strict"), ("ascii", "surrogateescape"), ("utf-8", "strict")]
)
def test_what_the_output_cannot_say_is_written_as_an_escape(
    monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str
) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
    monkeypatch.setattr("sys.stdout", stream)
    never_fails(stream)
    never_fails(None)  # one that is closed
    print_json(["模", "\xe9", "\N{GRINNING FACE}", "\udcff"])
    stream.flush()
    assert json.loads(raw.getvalue()) == ["模", "\xe9", "\N{GRINNING FACE}", "\udcff"]
    print("模 \udcff")
    stream.flush()
    assert raw.getvalue().endswith(b"\\u6a21 \\udcff\n" if encoding == "ascii" else "模 ".encode() + b"\\udcff\n")
