"""`corral run`: chat with a Model in the terminal, or ask it one thing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from corral.cli import chat, options
from corral.cli.conversation import Conversation
from corral.cli.given import Fetching
from corral.cli.models import asking
from corral.cli.naming import FIRST
from corral.cli.serving import serving
from corral.cli.usage import UsageError
from corral.cli.watching import until_it_answers
from corral.domain.errors import BadRequest


def run(
    model: Annotated[
        str,
        typer.Argument(metavar="NAME", help=FIRST),
    ],
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT", show_default=False, help="Ask this and leave.")
    ] = None,
    system: Annotated[str, typer.Option("--system", metavar="TEXT", show_default=False, help="System message.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", show_default=False, help="A parameter, such as temperature=0."),
    ] = None,
    hide_thinking: Annotated[bool, typer.Option("--hide-thinking", help="Do not show what it thinks.")] = False,
    option: options.EngineOption = None,
    quant: asking.Quant = "",
    insecure: asking.Insecure = False,
    private: asking.Private = False,
    state_dir: options.StateDir = "",
    server: options.Server = "",
    key: options.Key = "",
    config: options.Config = "",
) -> None:
    """
    Chat with a Model; /help in the chat shows its commands.

    Talks to the Corral that runs here, or starts one of its own for as long as the chat lasts. With a PROMPT, or text
    on stdin, it prints the answer alone. A reference (hf.co/ORG/REPO:QUANT, ollama:NAME:TAG, https://...) is fetched
    into the store first, as `corral models pull` does it.
    """
    text = " ".join(prompt) if prompt else "" if sys.stdin.isatty() else sys.stdin.read().strip()
    interactive = not prompt and sys.stdin.isatty()
    if not text and not interactive:
        raise UsageError("There is nothing to ask: give a PROMPT, or text on stdin.")
    conversation = Conversation("", system=system)
    for setting in settings or []:
        _set(conversation, setting)
    fetching = Fetching(quant, insecure, private)
    with serving(
        [model], option or [], server=server, key=key, state_dir=state_dir, config=config, fetching=fetching
    ) as found:
        corral = found.corral
        conversation.model = chat.check_model(corral, found.names[0])
        if interactive:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  line editing and history for input()
            chat.Chat(corral, conversation).loop()
        else:
            with contextlib.closing(conversation.ask(corral, text)) as pieces:
                answer = until_it_answers(corral, conversation.model, pieces)
                chat.print_answer(answer, thinking=not hide_thinking)


def _set(conversation: Conversation, setting: str) -> None:
    name, _, value = setting.partition("=")
    try:
        conversation.set(name.strip().replace("-", "_"), value.strip())
    except BadRequest as error:
        raise UsageError(f"--set: {error.message}", hint=error.hint) from None
