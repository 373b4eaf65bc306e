"""The chat, on pieces made by hand: no server, no terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.cli import chat, conversation, output
from corral.cli.chat import Chat, print_answer
from corral.cli.connect import Corral
from corral.cli.conversation import Conversation, Piece
from corral.domain.errors import BadRequest, EngineFailed

NOWHERE = Corral(socket_path="/nowhere")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(*lines: str) -> Iterator[str]:
    yield from lines


def session(
    monkeypatch: pytest.MonkeyPatch, *lines: str, answers: Iterable[list[Piece]] = ()
) -> tuple[Chat, list[Any]]:
    """A chat that reads these lines; what it would send is recorded."""
    sent: list[Any] = []
    waiting = iter(answers)

    def stream(corral: Corral, body: dict[str, Any]) -> Generator[Piece, None, None]:
        sent.append(json.loads(json.dumps(body)))
        yield from next(waiting, [Piece("fine")])

    monkeypatch.setattr(conversation, "_stream", stream)
    monkeypatch.setattr(chat, "check_model", lambda corral, name: name.upper())
    source = lines_of(*lines)

    def read(prompt: str) -> str:
        line = next(source, None)
        if line is None:
            raise EOFError
        if line == "^C":
            raise KeyboardInterrupt
        return line

    return Chat(NOWHERE, Conversation("m"), read), sent


def test_history_is_sent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    talk, sent = session(monkeypatch, "one", "two", answers=[[Piece("a"), Piece("b")], [Piece("c")]])
    talk.loop()
    assert sent[1]["messages"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "ab"},
        {"role": "user", "content": "two"},
    ]
    assert "ab\n" in capsys.readouterr().out


def test_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    talk, sent = session(
        monkeypatch, "/help", "/set temperature 0", "/set top_k 7", "/system be brief", "hi", f"/save {file}", "/clear",
        "/set top_k", "/model other", "again", "/exit", "never",
    )  # fmt: skip
    talk.loop()
    assert sent[0]["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (sent[0]["temperature"], sent[0]["top_k"]) == (0.0, 7), "zero is a value"
    assert [message["content"] for message in sent[1]["messages"]] == ["be brief", "again"]
    assert sent[1]["model"] == "OTHER" and "top_k" not in sent[1]
    assert len(sent) == 2
    assert json.loads(file.read_text())["messages"][-1] == {"role": "assistant", "content": "fine"}
    assert "/save FILE" in capsys.readouterr().out


def test_wrong_commands_are_told_and_the_chat_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, sent = session(monkeypatch, "/nope", "/set temprature 1", "/set top_k x", "/save", "", "   ", "hi")
    talk.loop()
    told = capsys.readouterr().err
    assert "no command /nope" in told and "Did you mean temperature?" in told
    assert "top_k must be a whole number, not 'x'" in told and "/save FILE" in told
    assert len(sent) == 1, "an empty line asks nothing"


def test_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    talk, sent = session(monkeypatch, '"""a', "b", 'c"""', "d \\", "e", '"""one line"""')
    talk.loop()
    assert [body["messages"][-1]["content"] for body in sent] == ["a\nb\nc", "d \ne", "one line"]


def test_ctrl_c_at_the_prompt_does_not_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, sent = session(monkeypatch, "^C", "hi")
    talk.loop()
    assert len(sent) == 1 and "Ctrl-D leaves" in capsys.readouterr().out


def test_ctrl_c_stops_the_answer_and_keeps_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    talk, _ = session(monkeypatch)
    closed = []

    def stream(corral: Corral, body: dict[str, Any]) -> Generator[Piece, None, None]:
        try:
            yield Piece("half")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(conversation, "_stream", stream)
    talk.answer("hi")
    assert talk._conversation.messages[-1] == {"role": "assistant", "content": "half"}
    assert closed == [True]


def test_a_failed_answer_leaves_no_question_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterator[Piece]:
        raise EngineFailed("It broke.")

    def stream(corral: Corral, body: dict[str, Any]) -> Generator[Piece, None, None]:
        yield from broken()

    talk, _ = session(monkeypatch, "hi")
    monkeypatch.setattr(conversation, "_stream", stream)
    talk.loop()
    assert talk._conversation.messages == []
    assert "corral: It broke." in capsys.readouterr().err


def test_in_a_pipe_there_is_the_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    print_answer([Piece("hm", thinking=True), Piece("I am\x1b[2J here.")])
    assert out.getvalue() == "I am\x1b[2J here.\n", "bytes of an answer go through a pipe as they are"


def test_on_a_terminal_thinking_is_dimmed_and_control_characters_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_answer([Piece("hm", thinking=True), Piece("I am\x1b[2J here.")])
    assert out.getvalue() == f"{output.DIM}hm{output.RESET}\n\nI am\N{REPLACEMENT CHARACTER}[2J here.\n"


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("NO_COLOR", "1")
    print_answer([Piece("hm", thinking=True), Piece("yes")])
    assert out.getvalue() == "hm\n\nyes\n"


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (b'{"choices": [{"delta": {"content": "a"}}]}', [Piece("a")]),
        (b'{"choices": [{"delta": {"reasoning_content": "t"}}]}', [Piece("t", thinking=True)]),
        (b'{"choices": [{"delta": {"role": "assistant", "content": null}}]}', []),
        (b'{"choices": [], "usage": {}}', []),
        (b"not json", []),
        (b"[1]", []),
    ],
)
def test_pieces_of_a_stream(data: bytes, pieces: list[Piece]) -> None:
    assert list(conversation._pieces(data)) == pieces


def test_an_error_in_a_stream_is_raised() -> None:
    with pytest.raises(EngineFailed, match="no more memory"):
        list(conversation._pieces(b'{"error": {"message": "no more memory"}}'))


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(BadRequest):
        Conversation("m").set("nope", "1")
