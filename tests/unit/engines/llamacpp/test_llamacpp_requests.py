"""llama-server's own fields: what is let through, and what is told of what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from corral.domain.errors import BadRequest
from corral.engines.llamacpp.requests import BY_SLOTS, RANGES, check_request, read_request

NUMBERS = {name: bounds for name, bounds in RANGES.items() if not bounds.items}
LISTS = {name: bounds for name, bounds in RANGES.items() if bounds.items}


def check(**fields: Any) -> None:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    try:
        check_request(body, 4)
    except BadRequest:
        with pytest.raises(msgspec.ValidationError):
            read_request(body)  # whatever is refused is stumbled over
        raise


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_have_ranges(name: str) -> None:
    bounds = NUMBERS[name]
    fine: Any
    for fine in (bounds.low, bounds.high, float(bounds.high), None, "text", True if bounds.high >= 1 else None, [], {}):
        check(**{name: fine})
    for wrong in (bounds.low - 1, bounds.high + 1, bounds.low - 0.5, 2**64, -(2**70), 1e300):
        with pytest.raises(BadRequest) as caught:
            check(**{name: wrong})
        assert caught.value.message.startswith(f"{name} must be from ")


@pytest.mark.parametrize("name", LISTS)
def test_lists_have_sizes(name: str) -> None:
    most = int(LISTS[name].high)
    check(**{name: [{"id": 0, "scale": 1}] * most})
    check(**{name: "text"})
    with pytest.raises(BadRequest, match=f"^{name} must not have more than {most} items"):
        check(**{name: [{"id": 0, "scale": 1}] * (most + 1)})


def test_a_mapping_of_biases_has_a_size_too() -> None:
    check(logit_bias={str(token): -1 for token in range(100)})
    with pytest.raises(BadRequest, match="logit_bias"):
        check(logit_bias={str(token): -1 for token in range(100_001)})


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ({"id": -1, "scale": 1}, "id of an item of lora must be from 0 to 1023."),
        ({"id": 2**40}, "id of an item of lora must be from 0 to 1023."),
        ({"id": 0, "scale": 1e30}, "scale of an item of lora must be from -1e+06 to 1e+06."),
        (3, "The request body is wrong"),
    ],
)
def test_adapters(adapter: object, sentence: str) -> None:
    check(lora=[{"id": 0, "scale": 0.5}])
    with pytest.raises(BadRequest) as caught:
        check(lora=[{"id": 0}, adapter])
    assert caught.value.message.startswith(sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n": 5}, "n must be from 1 to 4: the Model has 4 slots."),
        ({"n": 0}, "n must be from 1 to 4: the Model has 4 slots."),
        ({"n_cmpl": 1e30}, "n_cmpl must be from 1 to 4: the Model has 4 slots."),
        ({"id_slot": 4}, "id_slot must be from -1 to 3: the Model has 4 slots."),
        ({"id_slot": -2}, "id_slot must be from -1 to 3: the Model has 4 slots."),
    ],
)
def test_what_depends_on_the_slots(fields: dict[str, Any], sentence: str) -> None:
    check(n=4, n_cmpl=1, id_slot=3)
    check(n="4", id_slot=-1)
    with pytest.raises(BadRequest) as caught:
        check(**fields)
    assert caught.value.message == sentence


@pytest.mark.parametrize(
    "body",
    [
        b'{"n_\\u0064iscard": -1}',
        b'{"n_discard": 1, "n_discard": -1}',
        b'{"n_discard": -1, "n_discard": 1}',
        b'{ "x" : {"n_discard": 1}, "n_discard"\n:\t-1e0}',
    ],
)
def test_no_spelling_gets_by(body: bytes) -> None:
    with pytest.raises(BadRequest, match="n_discard must be from 0"):
        check_request(body, 1)


def test_what_is_inside_other_fields_is_theirs() -> None:
    check(metadata={"n_discard": -1}, chat_template_kwargs={"top_k": -5}, messages=[{"content": '"n_discard": -1'}])


@pytest.mark.parametrize("body", [b"{", b'{"n_keep": 1e999}', b"[" * 5000, b"[]", b"3"])
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(BadRequest):
        check_request(body, 1)


def test_the_page_has_every_field() -> None:
    text = (Path(__file__).parents[4] / "docs" / "api.md").read_text()
    rows = [f"| `{name}` | {bounds.words().removeprefix('must ')} |" for name, bounds in RANGES.items()]
    assert [row for row in rows if row not in text] == []
    assert [name for name in BY_SLOTS if f"| `{name}` |" not in text] == []


def test_a_plain_request_is_read_once() -> None:
    read = read_request(b'{"model": "m", "stream": true, "n": 1, "id_slot": 0, "top_k": 40, "stop": ["x"]}')
    assert (read.model, read.stream) == ("m", True)
