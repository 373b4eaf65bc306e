"""Rules applied to bodies."""

from __future__ import annotations

import json

import pytest

from corral.domain.errors import BadRequest
from corral.domain.requests import RequestRules
from corral.gateway.filters import filtered_json


def test_defaults_then_strip_then_set_and_the_rest_byte_for_byte() -> None:
    rules = RequestRules(
        {"temperature": 0, "top_k": 5, "seed": 1}, ("logit_bias", "none"), {"n": 2, "x": {"y": [None]}}
    )
    body = (
        b'{"model":"m", "messages" : [ {"content":"\\u00e4 \xc3\xa4"} ],"top_k":1.50,"seed":null,"logit_bias":{},"n":9}'
    )
    out = filtered_json(rules, body)
    assert json.loads(out) == {
        "model": "m",
        "messages": [{"content": "ä ä"}],
        "top_k": 1.5,
        "seed": 1,
        "temperature": 0,
        "n": 2,
        "x": {"y": [None]},
    }
    assert b'[ {"content":"\\u00e4 \xc3\xa4"} ]' in out and b'"top_k":1.50' in out


def test_the_model_s_own_name_goes_out() -> None:
    assert json.loads(filtered_json(RequestRules(model="m"), b'{"model":"m:creative"}')) == {"model": "m"}
    assert json.loads(filtered_json(RequestRules(model="m"), b"{}")) == {"model": "m"}


def test_a_profile_goes_before_its_model() -> None:
    own = RequestRules({"a": 1, "b": 1}, ("c",), {"d": 1, "e": 1})
    assert own.under(RequestRules({"b": 2}, ("c", "f"), {"e": 2}, "m")) == RequestRules(
        {"a": 1, "b": 2}, ("c", "f"), {"d": 1, "e": 2}, "m"
    )


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"a":\xff}', b"[" * 3000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        filtered_json(RequestRules(), body)
