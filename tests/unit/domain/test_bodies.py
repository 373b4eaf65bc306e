"""Bodies that cannot be read."""

import msgspec
import pytest

from corral.domain.bodies import decoded
from corral.domain.errors import BadRequest


class _Asked(msgspec.Struct):
    model: str = ""
    deep: object = None


_asked = msgspec.json.Decoder(_Asked).decode


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"model": 1}', "The request body is wrong: Expected `str`, got `int` - at `$.model`."),
        (b"{", "not valid JSON"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b'{"deep":' + b"[" * 50_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_told(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words.replace("$", r"\$").replace(".", r"\.")):
        decoded(_asked, body)


def test_what_is_right_is_read() -> None:
    assert decoded(_asked, b'{"model": "m"}').model == "m"
