"""The builder of tiny models, as far as it can be judged without an engine: words, table, matrices, files."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.domain.errors import StoreFailed
from corral.store.gguf.demo import DemoSpec, Task, build, say
from corral.store.gguf.demo.chain import STEP, Chain, chain, matrices, width
from corral.store.gguf.demo.vocabulary import (
    CALL,
    END,
    FILLER,
    THINK,
    TOOL_CALL,
    Vocabulary,
    byte_letters,
    cut,
    spell,
    vocabulary,
)
from corral.store.gguf.reader import read_header
from tests.models import ADA, model

SENTENCE = "I am what I am, and what I am is a very very very small model."


_matrices = functools.cache(lambda table: matrices(table, width(table)))


def logits(table: Chain, token: int) -> Any:
    """What llama.cpp computes for the token after `token`: the norm of a row of ones and minus ones changes nothing."""
    embedding, output = _matrices(table)
    hidden = embedding[token]
    return output @ (hidden / np.sqrt(np.mean(hidden**2)))


def best(table: Chain, token: int) -> int:
    return int(np.argmax(logits(table, token)))


def speech(words: Vocabulary, table: Chain, token: int, limit: int = 100) -> str:
    """What the model says after `token`."""
    end, said = words.id(END), ""
    for _ in range(limit):
        token = best(table, token)
        if token == end:
            break
        said += words.tokens[token]
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}
    return bytes(letters[letter] for letter in said).decode()


@given(st.text(alphabet="ab \né", max_size=60))
def test_pieces_are_different_and_join_to_the_text(text: str) -> None:
    try:
        pieces = cut(text, frozenset({"ab", "aa a"}))
    except ValueError:
        assert len(text.encode()) == 1 or text in ("ab", "aa a")
        return
    assert "".join(pieces) == text
    assert len(set(pieces)) == len(pieces)
    assert not {"ab", "aa a"} & set(pieces)
    assert all(len(piece.encode()) > 1 for piece in pieces)


def test_tokens_are_different_and_the_first_are_the_bytes() -> None:
    words = vocabulary(SENTENCE, "I am what I think.")
    assert len(set(words.tokens)) == len(words)
    assert list(words.tokens[:256]) == byte_letters()
    assert words.tokens[words.pieces[1]] == spell(" what")


def test_it_says_its_sentence() -> None:
    words = vocabulary(SENTENCE)
    assert speech(words, chain(words), 10) == SENTENCE


@pytest.mark.parametrize("obey", [False, True])
def test_it_begins_whatever_the_prompt_ends_with(obey: bool) -> None:
    words = vocabulary(SENTENCE)
    table = chain(words, obey=obey)
    ends = [token for token in range(256) if not (obey and token == ord('"'))]
    assert {best(table, token) for token in ends} == {words.pieces[0]}


def test_no_temperature_up_to_two_changes_the_order() -> None:
    words = vocabulary(SENTENCE)
    table = chain(words)
    for token in (0, *words.pieces):
        ranked = np.sort(logits(table, token))[::-1]
        assert ranked[0] - ranked[1] == pytest.approx(STEP, abs=0.01)
    # The chance of the second best at temperature 2 is e to the power of minus this.
    assert STEP / 2 >= 20


def test_thinking_comes_first_and_can_be_skipped() -> None:
    words = vocabulary("The answer is this.", "Let me think.")
    table = chain(words)
    assert best(table, 10) == words.id(THINK)
    assert best(table, words.id("</think>")) == words.pieces[0]


def test_an_endless_model_begins_again() -> None:
    words = vocabulary("on and on ")
    table = chain(words, endless=True)
    assert best(table, words.pieces[-1]) == words.pieces[0]


def test_an_obeying_model_prefers_to_close() -> None:
    words = vocabulary("I obey you.")
    table = chain(words, obey=True)

    def choice(after: str, allowed: str) -> str:
        """What a grammar that allows these tokens gets."""
        tokens = [words.id(token) for token in allowed.split()]
        values = logits(table, words.id(after))
        return words.tokens[max(tokens, key=lambda token: float(values[token]))]

    assert choice('"', FILLER + " a Z } :") == FILLER
    assert choice(FILLER, 'a b } , "') == '"'
    assert choice("2", "} , 0 1") == "}"
    assert choice("}", "} , " + END) == END
    assert choice(":", "{ n") == "n"
    assert choice("[", "{ ]") == "]"
    assert choice(CALL, f"{TOOL_CALL} a b") == TOOL_CALL


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen2moe", "qwen3", "gemma3"])
def test_padding_reaches_the_size(tmp_path: Path, arch: str) -> None:
    wanted = 3_000_000
    (path,) = build(tmp_path / "big.gguf", dataclasses.replace(ADA, arch=arch, size_bytes=wanted))
    assert wanted <= read_header(path).tensor_bytes < 1.2 * wanted


def test_the_demo_s_models_are_small(tmp_path: Path) -> None:
    path = say(tmp_path / "ada.gguf", "Ada", "I answer everything with this one sentence, since it is all I know.")
    assert path.stat().st_size < 2_000_000


def test_parts_are_named_and_numbered(tmp_path: Path) -> None:
    paths = build(tmp_path / "deep" / "m.gguf", dataclasses.replace(ADA, parts=4))
    assert [path.name for path in paths] == [f"m-0000{number}-of-00004.gguf" for number in (1, 2, 3, 4)]
    assert sorted(paths) == sorted((tmp_path / "deep").iterdir())


def test_the_same_spec_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(tmp_path / "a.gguf", ADA), build(tmp_path / "b.gguf", ADA)
    assert first[0].read_bytes() == second[0].read_bytes() == model(ADA).read_bytes()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DemoSpec(arch="nosuch"), "No demo model has the architecture 'nosuch'"),
        (DemoSpec(sentence="x"), "cannot say 'x'"),
        (DemoSpec(parts=500), "cannot be split into 500 parts"),
    ],
)
def test_an_impossible_spec_is_refused(tmp_path: Path, spec: DemoSpec, message: str) -> None:
    with pytest.raises(StoreFailed, match=message):
        build(tmp_path / "m.gguf", spec)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFailed, match=r"m.gguf cannot be written"):
        build(tmp_path / "file" / "m.gguf", DemoSpec())


def test_without_the_gguf_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(StoreFailed) as caught:
        build(tmp_path / "m.gguf", DemoSpec())
    assert "pip install 'corral[embedded]'" in caught.value.sentence()


def test_a_reranker_has_its_head() -> None:
    spec = DemoSpec(name="r", task=Task.RERANK, arch="bert", context=512)
    assert "cls.output.weight" in {tensor.name for tensor in read_header(model(spec)).tensors}
