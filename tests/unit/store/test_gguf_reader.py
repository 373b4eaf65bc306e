"""The header reader: agrees with the `gguf` package on good files, and survives bad ones."""

from __future__ import annotations

import errno
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corral.domain.errors import BadGguf, FileMissing, Unreadable
from corral.store.gguf import reader
from corral.store.gguf.demo import Damage, DemoSpec, Task, damaged
from corral.store.gguf.ggml import GGML_TYPES
from corral.store.gguf.header import LongArray
from corral.store.gguf.reader import read_from, read_header
from tests.large_headers import large
from tests.models import ADA, EMBED, OBEY, SPLIT, model

SPECS = [ADA, OBEY, EMBED, DemoSpec(name="Moe", sentence="I am Moe and many experts.", arch="qwen2moe"), SPLIT]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_it_agrees_with_the_gguf_package(spec: DemoSpec) -> None:
    path = model(spec)
    ours, theirs = read_header(path), gguf.GGUFReader(path)
    assert ours.data_offset == theirs.data_offset
    assert [(t.name, t.shape, t.type, t.n_bytes) for t in ours.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.n_bytes)) for t in theirs.tensors
    ]
    assert [ours.data_offset + t.offset for t in ours.tensors] == [int(t.data_offset) for t in theirs.tensors]
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata.keys() == fields.keys()
    for key, value in fields.items():
        expected = tuple(value) if isinstance(value, list) else value
        assert ours.metadata[key] == expected or ours.metadata[key] == LongArray(len(value)), key


class _Asked:
    """A file that notes what it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.asked: list[tuple[int, int]] = []

    def read(self, at: int, count: int) -> bytes:
        self.asked.append((at, count))
        return self.data[at : at + count]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_window_changes_nothing(spec: DemoSpec) -> None:
    data = model(spec).read_bytes()
    whole = read_header(model(spec))
    for most in (1, 7, 64, 1024):
        assert read_from(_Asked(data), model(spec).name, most_read=most) == whole


def test_it_asks_forward_for_more_and_more_and_jumps_over_numbers(tmp_path: Path) -> None:
    source = _Asked(large(tmp_path / "m.gguf", tokens=100_000, merges=100_000).read_bytes())
    read_from(source, "m.gguf", most_read=512 * 1024)
    ends = [at + count for at, count in source.asked]
    assert all(at >= end for (at, _), end in zip(source.asked[1:], ends, strict=False))
    assert [count for _, count in source.asked[:5]] == [64 << 10, 128 << 10, 256 << 10, 512 << 10, 512 << 10]
    assert sum(count for _, count in source.asked) < source.size - 200_000  # of 800,000 bytes of numbers


def test_what_it_says_about_the_model() -> None:
    header = read_header(model(ADA))
    assert (header.architecture, header.name, header.context_length, header.split) == ("llama", "Ada", 32768, None)
    assert "<|im_start|>" in header.chat_template
    assert header.number("block_count") == 1
    assert header.array_length("tokenizer.ggml.tokens") == header.tensors[0].shape[1]
    split = read_header(model(SPLIT)).split
    assert split is not None
    assert (split.index, split.count) == (0, 3)


def test_our_table_of_types_is_that_of_the_gguf_package() -> None:
    theirs = {kind.value: (kind.name, *size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    theirs |= {42: ("Q2_0", 64, 18)}  # gguf 0.19 does not have it; llama.cpp b11434 does (libggml-base)
    assert {number: tuple(kind) for number, kind in GGML_TYPES.items()} == theirs


def _write(path: Path, add: Callable[[Any], None], *, big: bool = False) -> Path:
    order = gguf.GGUFEndian.BIG if big else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _every_kind(writer: Any) -> None:
    for kind, value in {
        "uint8": 200, "int8": -100, "uint16": 60_000, "int16": -30_000, "uint32": 4_000_000_000, "int32": -5,
        "uint64": 1 << 63, "int64": -(1 << 62), "float32": 0.5, "float64": 1e300, "bool": True,
    }.items():  # fmt: skip
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_array("a.strings", ["x", "ü", ""])
    writer.add_array("a.numbers", [1, 2, 3])
    writer.add_array("a.long", [7] * 5000)
    writer.add_array("a.many", ["word"] * 5000)


@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
@pytest.mark.parametrize("version", [2, 3])
def test_both_byte_orders_and_versions(tmp_path: Path, big: bool, version: int) -> None:
    path = _write(tmp_path / "m.gguf", _every_kind, big=big)
    data = path.read_bytes()
    path.write_bytes(data[:4] + struct.pack(">I" if big else "<I", version) + data[8:])
    header = read_header(path)
    assert (header.big_endian, header.version) == (big, version)
    told = {key.removeprefix("a."): value for key, value in header.metadata.items() if key.startswith("a.")}
    assert told == {
        "uint8": 200, "int8": -100, "uint16": 60_000, "int16": -30_000, "uint32": 4_000_000_000, "int32": -5,
        "uint64": 1 << 63, "int64": -(1 << 62), "float32": 0.5, "float64": 1e300, "bool": True,
        "strings": ("x", "ü", ""), "numbers": (1, 2, 3), "long": LongArray(5000), "many": LongArray(5000),
    }  # fmt: skip


def test_a_large_vocabulary_is_quick_and_small(tmp_path: Path) -> None:
    def vocabulary(writer: Any) -> None:
        writer.add_token_list([f"token{number}" for number in range(150_000)])
        writer.add_token_scores([0.0] * 150_000)

    path = _write(tmp_path / "v.gguf", vocabulary)
    spent = []
    for _ in range(5):
        began = time.process_time()
        header = read_header(path)
        spent.append(time.process_time() - began)
    assert header.array_length("tokenizer.ggml.tokens") == 150_000
    assert min(spent) < 0.08


MESSAGES = {
    Damage.EMPTY: "only 0 bytes",
    Damage.MAGIC: "begins with b'GGML'",
    Damage.WEB_PAGE: "a web page",
    Damage.LFS_POINTER: "a Git LFS pointer",
    Damage.VERSION: "its version is 99",
    Damage.HEADER_CUT: "are left (at byte",
    Damage.DATA_CUT: "the file ends 10,000 bytes early. Download it again.",
    Damage.STRING_LENGTH: "a text claims 4611686018427387904 bytes",
    Damage.COUNT: "claims 1152921504606846976 tensors",
    Damage.OFFSET: "bytes early",
}


@pytest.mark.parametrize("damage", MESSAGES)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(damaged(model(ADA).read_bytes(), damage))
    with pytest.raises(BadGguf) as caught:
        read_header(path)
    assert MESSAGES[damage] in caught.value.sentence()
    assert "broken.gguf" in caught.value.sentence()


def test_an_unknown_architecture_is_the_engine_s_business(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(damaged(model(ADA).read_bytes(), Damage.ARCHITECTURE))
    assert read_header(path).architecture == "lamma"
    assert read_header(path).context_length == 32768


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="There is no file"):
        read_header(tmp_path / "nothing.gguf")
    with pytest.raises(FileMissing, match="is a folder"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(FileMissing, match="no regular file"):
        read_header(tmp_path / "pipe.gguf")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_that_cannot_be_read_is_not_said_to_be_bad(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(fd: int, count: int, at: int) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unreadable, match=f"ada.*.gguf cannot be read: {os.strerror(number)}"):
        read_header(model(ADA))


def _raw(*entries: bytes, tensors: tuple[bytes, ...] = ()) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + b"".join(tensors)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HOSTILE = {
    "nested arrays": (
        _raw(_text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 2000),
        "arrays are nested too deep",
    ),
    "arrays of arrays without measure": (
        _raw(*[_text(key) + struct.pack("<IIQ", 9, 9, 60_000) + struct.pack("<IQ", 0, 0) * 60_000 for key in "ab"]),
        "claims 120000 arrays in arrays",
    ),
    "a huge array": (_raw(_text("a") + struct.pack("<IIQ", 9, 10, 1 << 61)), "ends in the middle of its header"),
    "a huge array of strings": (_raw(_text("a") + struct.pack("<IIQ", 9, 8, 1 << 60)), "more than it can hold"),
    "a string without end in an array": (
        _raw(_text("a") + struct.pack("<IIQ", 9, 8, 600) + struct.pack("<Q", 1 << 63) + b"\0" * 6000),
        "ends in the middle of its header",
    ),
    "a value type that does not exist": (_raw(_text("a") + struct.pack("<I", 77) + b"\0" * 8), "no value type 77"),
    "a key twice": (_raw(*[_text("a") + struct.pack("<II", 4, 1)] * 2), "the key 'a' comes twice"),
    "an alignment of zero": (_raw(_text("general.alignment") + struct.pack("<II", 4, 0)), "not a power of two"),
    "an overflowing shape": (_raw(tensors=(_tensor("t", (1 << 40, 1 << 40)),)), "impossible shape"),
    "five dimensions": (_raw(tensors=(_tensor("t", (1, 1, 1, 1, 1)),)), "has 5 dimensions"),
    "a crooked offset": (_raw(tensors=(_tensor("t", (4,), offset=3),)), "no multiple of 32"),
    "a row that is no whole block": (_raw(tensors=(_tensor("t", (33,), kind=2),)), "no multiple of 32"),
    "the first version": (b"GGUF" + struct.pack("<III", 1, 0, 0) + b"\0" * 32, "its version is 1"),
    "more tensors than its bytes": (b"GGUF" + struct.pack("<IQQ", 3, 50_000, 0), "claims 50000 tensors"),
    "more entries than its bytes": (b"GGUF" + struct.pack("<IQQ", 3, 0, 50_000), "claims 50000 metadata entries"),
    "a tensor of nothing": (_raw(tensors=(_tensor("t", (4, 0)),)), "impossible shape"),
    "a crooked alignment": (_raw(_text("general.alignment") + struct.pack("<II", 4, 48)), "not a power of two"),
    "two tensors of one name": (_raw(tensors=(_tensor("t", (1,)), _tensor("t", (1,)))) + b"\0" * 64, "the same name"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused(tmp_path: Path, case: str) -> None:
    data, message = HOSTILE[case]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    with pytest.raises(BadGguf, match=message):
        read_header(path)


def test_a_file_that_gets_shorter_meanwhile_is_refused() -> None:
    data = model(ADA).read_bytes()
    cut = _Asked(data[:5000])
    cut.size = len(data)
    with pytest.raises(BadGguf, match=r"it got shorter while it was read \(at byte 5000\)"):
        read_from(cut, "cut.gguf")


def test_a_header_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_HEADER_BYTES", 1 << 20)
    path = tmp_path / "long.gguf"
    path.write_bytes(_raw(_text("a") + struct.pack("<IIQ", 9, 8, 500_000) + _text("") * 500_000))
    with pytest.raises(BadGguf, match=r"its header is larger than 1 MiB"):
        read_header(path)


def test_a_text_without_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_STRING_BYTES", 1000)
    path = tmp_path / "text.gguf"
    path.write_bytes(_raw(_text("a") + struct.pack("<I", 8) + _text("x" * 1001)))
    with pytest.raises(BadGguf, match=r"a text of 1001 B is longer than the 1000 B allowed"):
        read_header(path)


def test_many_texts_without_measure_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_TEXTS_BYTES", 5000)
    path = tmp_path / "texts.gguf"
    path.write_bytes(_raw(*[_text(f"k{n}") + struct.pack("<I", 8) + _text("x" * 1000) for n in range(9)]))
    with pytest.raises(BadGguf, match=r"its texts are longer than 4.9 KiB together"):
        read_header(path)


def _numbers(key: str, count: int) -> bytes:
    return _text(key) + struct.pack(f"<IIQ{count}H", 9, 2, count, *range(300, 300 + count))


MANY_ARRAYS = {
    "of numbers": lambda n: _numbers(f"k{n}", 512),
    "of texts": lambda n: _text(f"k{n}") + struct.pack("<IIQ", 9, 8, 512) + _text("") * 512,
    "of arrays": lambda n: _text(f"k{n}") + struct.pack("<IIQ", 9, 9, 512) + struct.pack("<IQ", 0, 0) * 512,
}


@pytest.mark.parametrize("kind", MANY_ARRAYS)
def test_many_arrays_are_refused_before_they_fill_the_memory(tmp_path: Path, kind: str) -> None:
    """Each is short, and a byte of the file would be twenty in memory: 105 MB of file were 2 GB."""
    path = tmp_path / "arrays.gguf"
    path.write_bytes(_raw(*[MANY_ARRAYS[kind](n) for n in range(129)]))
    with pytest.raises(BadGguf, match=r"its arrays have more than the 65,536 values allowed"):
        read_header(path)
    path.write_bytes(_raw(*[MANY_ARRAYS[kind](n) for n in range(128)]))
    assert len(read_header(path).metadata) == 128


def test_the_largest_arrays_within_the_bound_are_small(tmp_path: Path) -> None:
    path = tmp_path / "arrays.gguf"
    path.write_bytes(_raw(*[_numbers(f"k{n}", 512) for n in range(128)]))
    tracemalloc.start()
    header = read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert header.metadata["k127"] == tuple(range(300, 812))
    assert peak < 8_000_000


def test_the_most_tensors_take_a_few_seconds_at_most(tmp_path: Path) -> None:
    tensors = tuple(_tensor(f"t{number}", (1,)) for number in range(reader.MAX_TENSORS))
    path = tmp_path / "many.gguf"
    path.write_bytes(_raw(tensors=tensors) + b"\0" * 64)
    began = time.process_time()
    assert len(read_header(path).tensors) == len(tensors)
    assert time.process_time() - began < 5
    path.write_bytes(_raw(tensors=(*tensors, _tensor("one more", (1,)))) + b"\0" * 64)
    with pytest.raises(BadGguf, match="claims 100001 tensors"):
        read_header(path)


def test_a_tensor_type_of_tomorrow_is_let_through(tmp_path: Path) -> None:
    path = tmp_path / "tomorrow.gguf"
    path.write_bytes(_raw(tensors=(_tensor("t", (256,), kind=99),)) + b"\0" * 100)
    assert [tensor.type for tensor in read_header(path).tensors] == ["type 99"]


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Places in the header and what to put there: single bytes and the numbers that break parsers."""
    number = st.sampled_from([0, 1, 0x7F, 0xFF, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1])
    patch = st.one_of(st.binary(min_size=1, max_size=12), number.map(lambda n: struct.pack("<Q", n)))
    return draw(st.lists(st.tuples(st.integers(0, 8000), patch), min_size=1, max_size=6))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=mutations(), cut=st.one_of(st.none(), st.integers(0, 8000)))
def test_no_mutation_gives_anything_but_an_answer_or_bad_gguf(
    tmp_path: Path, changes: list[tuple[int, bytes]], cut: int | None
) -> None:
    data = bytearray(model(ADA).read_bytes())
    for at, patch in changes:
        data[at : at + len(patch)] = patch
    path = tmp_path / "mutant.gguf"
    path.write_bytes(data[:cut])
    began = time.process_time()
    try:
        header = read_header(path)
    except BadGguf as error:
        told = error.message
    else:
        told = "mutant.gguf"
        end = max((header.data_offset + tensor.offset + tensor.n_bytes for tensor in header.tensors), default=0)
        assert end <= header.file_bytes == len(data[:cut])
        _ = header.architecture, header.context_length, header.split, header.chat_template
    assert "mutant.gguf" in told
    assert time.process_time() - began < 1.0


def test_every_task_has_a_readable_file() -> None:
    for task in Task:
        arch = "bert" if task in (Task.EMBED, Task.RERANK) else "llama"
        assert read_header(model(DemoSpec(name=f"t-{task}", task=task, arch=arch, context=512))).tensors
