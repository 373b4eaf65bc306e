"""One field out of a form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.kit.multipart import form_field, with_field

TYPE = "multipart/form-data; boundary=XX"


def part(name: str, value: bytes, more: str = "") -> bytes:
    """One part."""
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def test_the_field_wherever_it_stands() -> None:
    audio = part("file", b'\x00\r\n--X\r\nname="model"\r\n\r\nno\xff', '; filename="model"\r\nContent-Type: audio/wav')
    for body in (part("model", b"m1") + audio, audio + part("model", b"m1")):
        assert form_field(body + b"--XX--\r\n", TYPE, "model") == "m1"
        assert form_field(body + b"--XX--\r\n", 'multipart/form-data; boundary="XX"', "model") == "m1"
    assert form_field(audio + b"--XX--", TYPE, "model") is None


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"{}", "application/json", "multipart"),
        (b"{}", "multipart/form-data", "boundary"),
        (b"{}", "multipart/form-data; boundary=" + "x" * 100, "begin"),
        (b"x" + part("model", b"m"), TYPE, "begin"),
        (part("model", b"m"), TYPE, "malformed"),
        (b"--XX\r\nno end of a head", TYPE, "malformed"),
        (part("model", b"a") + part("model", b"b") + b"--XX--", TYPE, "twice"),
        (part("model", b"a" * 2000) + b"--XX--", TYPE, "too long"),
        (part("model", b"\xff") + b"--XX--", TYPE, "UTF-8"),
        (part("x", b"y") * 101 + b"--XX--", TYPE, "more than"),
    ],
)
def test_forms_that_cannot_be_read(body: bytes, content_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        form_field(body, content_type, "model")


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    try:
        form_field(b"--XX" + noise, TYPE, "model")
    except ValueError:
        pass


TYPE = "multipart/form-data; boundary=XX"


def _form(*parts: tuple[str, bytes]) -> bytes:
    lines = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in parts
    )
    return lines + b"--XX--\r\n"


def test_a_field_is_replaced_and_every_other_byte_stays() -> None:
    file = bytes(range(256)) * 3
    form = _form(("a", b"1"), ("model", b"alias"), ("file", file))
    assert with_field(form, TYPE, "model", "a-longer-name") == _form(
        ("a", b"1"), ("model", b"a-longer-name"), ("file", file)
    )


def test_a_field_that_is_not_there_becomes_the_first() -> None:
    assert with_field(_form(("a", b"1")), TYPE, "model", "m") == _form(("model", b"m"), ("a", b"1"))
    assert form_field(with_field(b"--XX--\r\n", TYPE, "model", "m"), TYPE, "model") == "m"
