"""The chat on a terminal: a prompt, /commands, an answer that Ctrl-C stops."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

from corral.cli import connect, output
from corral.cli.conversation import PARAMETERS, Conversation, Piece
from corral.cli.watching import until_it_answers
from corral.domain.errors import BadRequest, CorralError

HELP: Final = f"""\
/model [NAME]       talk to another Model, or show which one this is
/system [TEXT]      set the system message, or take it away
/set [NAME [VALUE]] set a parameter, give it back to the Model, or show them all:
                    {", ".join(PARAMETERS)}
/clear              forget what was said
/save FILE          write the conversation as JSON
/help               this
/exit               leave (so does Ctrl-D)
A line that begins with three double quotes (\"\"\") goes on until the next three; a line that ends with \\ goes on.
Ctrl-C stops an answer."""


class Chat:
    """One session. `read_line` takes the prompt and returns a line; it raises EOFError at the end."""

    def __init__(
        self, corral: connect.Corral, conversation: Conversation, read_line: Callable[[str], str] = input
    ) -> None:
        self._corral = corral
        self._conversation = conversation
        self._read_line = read_line

    def loop(self) -> None:
        """Talk until /exit or the end of the input."""
        print(output.dim(f"{self._conversation.model}. /help shows the commands, Ctrl-D leaves."))
        while True:
            try:
                text = self._read()
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print(output.dim("\n/exit or Ctrl-D leaves."))
                continue
            try:
                if text.startswith("/"):
                    if not self._command(text):
                        return
                elif text.strip():
                    self.answer(text)
            except CorralError as error:
                output.note(f"corral: {error.sentence()}")

    def _read(self) -> str:
        """One message: a line, or several."""
        text = self._read_line(">>> ")
        if text.lstrip().startswith('"""'):
            text = text.lstrip()[3:]
            while '"""' not in text:
                text += "\n" + self._read_line("... ")
            return text[: text.index('"""')].strip("\n")
        while text.endswith("\\"):
            text = text[:-1] + "\n" + self._read_line("... ")
        return text

    def answer(self, text: str) -> None:
        """Print the answer to this as it comes. Ctrl-C ends the answer, not the chat."""
        with closing(self._conversation.ask(self._corral, text)) as pieces:
            try:
                print_answer(until_it_answers(self._corral, self._conversation.model, pieces))
            except KeyboardInterrupt:
                print(output.dim(" (stopped)"))

    def _command(self, text: str) -> bool:
        """Obey a command; False means to leave."""
        name, _, rest = text[1:].strip().partition(" ")
        rest = rest.strip()
        match name:
            case "exit" | "quit" | "bye":
                return False
            case "help" | "?" | "":
                print(HELP)
            case "clear":
                self._conversation.messages.clear()
                print(output.dim("Forgotten."))
            case "system":
                self._conversation.system = rest
                print(output.dim("The system message is set." if rest else "There is no system message now."))
            case "model":
                self._switch(rest)
            case "set":
                self._set(rest)
            case "save":
                self._save(rest)
            case _:
                raise BadRequest(f"There is no command /{name}.", hint="/help shows them all.")
        return True

    def _switch(self, name: str) -> None:
        if name:
            self._conversation.model = check_model(self._corral, name)
        print(output.dim(f"This is {self._conversation.model}."))

    def _set(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        if name:
            self._conversation.set(name, value.strip())
        for known, now in self._conversation.parameters.items():
            print(output.dim(f"{known} = {now}"))
        if not self._conversation.parameters:
            print(output.dim("All parameters are the Model's own."))

    def _save(self, file: str) -> None:
        if not file:
            raise BadRequest("Save where? Write /save FILE.")
        body = self._conversation.body()
        try:
            with open(file, "x", encoding="utf-8") as target:
                json.dump({"model": body["model"], "messages": body["messages"]}, target, indent=2, ensure_ascii=False)
        except OSError as error:
            raise BadRequest(f"{file} cannot be written: {error.strerror}.") from None
        print(output.dim(f"Wrote {file}."))


def print_answer(pieces: Iterable[Piece], *, thinking: bool = True) -> None:
    """Print the pieces as they come; thinking is dimmed on a terminal and left out elsewhere."""
    terminal = sys.stdout.isatty()
    styled, mode, last = output.styled(), False, "\n"
    for piece in pieces:
        if piece.thinking and not (terminal and thinking):
            continue
        text = output.printable(piece.text) if terminal else piece.text
        if piece.thinking != mode:
            mode = piece.thinking
            sys.stdout.write((output.DIM if mode else f"{output.RESET}\n\n") if styled else ("" if mode else "\n\n"))
        sys.stdout.write(text)
        sys.stdout.flush()
        last = text[-1:] or last
    if mode and styled:
        sys.stdout.write(output.RESET)
    if last != "\n" or terminal:
        sys.stdout.write("\n")
    sys.stdout.flush()


def check_model(corral: connect.Corral, name: str) -> str:
    """The Model's own name for a name or alias. Raises Answered, with near names, for one that is not served."""
    from urllib.parse import quote

    found = corral.ask("GET", f"/v1/models/{quote(name, safe='')}")
    own = found.get("id") if isinstance(found, dict) else None
    return own if isinstance(own, str) else name
