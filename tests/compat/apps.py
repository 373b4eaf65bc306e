"""
Apps against a Corral: an answer, a stream, a round of tools, a prompt that is too long, a Model that is not there.

    python -m tests.compat.apps --apps-dir DIR

DIR has the programs in `node_modules/.bin` or `bin`, as `npm install` and `python -m venv` leave them:
`@anthropic-ai/claude-code @openai/codex opencode-ai @continuedev/cli`; `aider-chat llm`. One that is missing is left
out. Each run has a home and a folder of its own, both empty, and is told of a proxy for the rest of the world that is
not there: it talks with Corral alone. What goes over the wire is recorded (`--record FILE`: a line of JSON a call).

Prints a table as Markdown, and why what failed did. Exit code 1 when anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from corral.store.gguf.demo import DemoSpec, Task
from tests.compat.app_setups import APPS, CONTEXT, App, Run
from tests.compat.tap import Call, tap
from tests.corrals import corral, gguf
from tests.models import model

WORDS: Final = "I am Alder. These are my words."
TOOL_WORDS: Final = "I am Willow. Offer me tools."
SMALL: Final = 2048
COLUMNS: Final = ("answer", "stream", "tools", "too long", "no such Model")
RESULTS: Final = (b'"function_call_output"', b'"tool_result"', b'"role":"tool"')
"""What is in a request that brings a tool's result."""
_LIMIT_S: Final = 240.0
_NOWHERE: Final = "http://127.0.0.1:9"


@dataclass
class Seen:
    """One run of an app."""

    output: str
    calls: list[Call]

    def asked(self, app: App) -> list[Call]:
        """The calls that went to the model."""
        return [call for call in self.calls if call.path == app.path]

    def told(self) -> str:
        """For whoever reads why something failed."""
        lines = [f"{call.method} {call.path} {call.status}{'' if call.whole else ' (cut)'}" for call in self.calls]
        return "\n".join([*lines, self.output[-1500:]])


def answered(app: App, seen: Seen, words: str) -> bool:
    """The app shows the answer, and nothing that it asked for was refused or cut."""
    return words in seen.output and all(call.status == 200 and call.whole for call in seen.calls)


def streamed(app: App, seen: Seen) -> bool:
    """The answer came as a stream."""
    kinds = [call.answer_headers.get("content-type", "") for call in seen.asked(app)]
    return bool(kinds) and all(kind.startswith("text/event-stream") for kind in kinds)


def used_tools(app: App, seen: Seen) -> bool:
    """Tools were offered, one was called, and the next request brought its result."""
    offered, *later = seen.asked(app)[-2:]
    return b'"tools":' in offered.body and any(mark in call.body for call in later for mark in RESULTS)


async def one(app: App, folder: Path, address: tuple[str, int], name: str, context: int) -> Seen:
    """Run it once."""
    async with tap(*address) as listening:
        with tempfile.TemporaryDirectory(prefix="app", ignore_cleanup_errors=True) as place:
            home, here = Path(place, "home"), Path(place, "here")
            home.mkdir()
            here.mkdir()
            arguments, variables = app.setup(Run(listening.address, name, context, home))
            proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOWHERE)
            env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", **proxies}
            env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **variables}
            output = await _output([str(folder / app.program), *arguments], env, here)
        return Seen(output, listening.calls())


async def _output(command: list[str], env: dict[str, str], here: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, cwd=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LIMIT_S):
            said, _ = await process.communicate()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it has started and left
    await process.wait()
    return said.decode("utf-8", "replace") or f"(no output within {_LIMIT_S:g} s)"


async def row(app: App, folder: Path, address: tuple[str, int], record: list[Call]) -> tuple[dict[str, str], list[str]]:
    """What an app could do, and why not."""
    cells, why = dict.fromkeys(COLUMNS, "–"), []

    def note(what: str, good: bool, seen: Seen) -> None:
        cells[what] = "yes" if good else "**no**"
        if not good:
            why.append(f"\n{app.name}, {what}:\n{seen.told()}")

    seen = await one(app, folder, address, "alder", CONTEXT)
    note("answer", answered(app, seen, WORDS), seen)
    note("stream", streamed(app, seen), seen)
    record += seen.calls
    if app.tools:
        seen = await one(app, folder, address, "willow", CONTEXT)
        note("tools", used_tools(app, seen) and answered(app, seen, TOOL_WORDS), seen)
        record += seen.calls
    seen = await one(app, folder, address, "small", SMALL)
    statuses = {call.status for call in seen.asked(app)}
    note("too long", 400 in statuses and app.refused in " ".join(seen.output.split()), seen)
    record += seen.calls
    seen = await one(app, folder, address, "nobody", CONTEXT)
    note("no such Model", {call.status for call in seen.asked(app)} == {404} and "nobody" in seen.output, seen)
    record += seen.calls
    return cells, why


def program(folder: Path, app: App) -> Path | None:
    """The folder that has it."""
    places = (folder, folder / "bin", *folder.glob("**/node_modules/.bin"), *folder.glob("*/bin"))
    return next((place for place in places if (place / app.program).is_file()), None)


def version(folder: Path, app: App) -> str:
    """The first thing with digits and points in what the program says of itself."""
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": os.environ["PATH"], "HOME": home}
        said = subprocess.run(
            [folder / app.program, *app.version], capture_output=True, text=True, env=env, timeout=60, check=False
        )
    return next((word for word in said.stdout.split() if word[0].isdigit() and "." in word), "?")


async def results(folder: Path, chosen: list[str], record: list[Call]) -> tuple[list[str], list[str]]:
    """The table's lines, and why what failed did."""
    binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "embedded")
    large = {"ctx_size": CONTEXT, "parallel": 1}
    willow = DemoSpec(name="Willow", sentence=TOOL_WORDS, task=Task.OBEY, context=CONTEXT)
    alder = DemoSpec(name="Alder", sentence=WORDS, context=CONTEXT)
    models = {
        "alder": gguf(model(alder), binary=binary, slots=1, options=large),
        "willow": gguf(model(willow), binary=binary, slots=1, options=large),
        "small": gguf(model(alder), binary=binary, slots=1, options={"ctx_size": SMALL, "parallel": 1}),
    }
    lines = ["| app | version | dialect | " + " | ".join(COLUMNS) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    why: list[str] = []
    async with corral(models) as running:
        host, _, port = running.info.address.removeprefix("http://").rpartition(":")
        for app in APPS:
            place = program(folder, app)
            if place is None or (chosen and app.program not in chosen):
                continue
            cells, more = await row(app, place, (host, int(port)), record)
            lines.append(f"| {app.name} | {version(place, app)} | {app.dialect} | " + " | ".join(cells.values()) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
            why += more
    return lines, why


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps-dir", required=True, type=Path)
    parser.add_argument("--only", action="append", default=[], help="the program's name; again for more")
    parser.add_argument("--record", type=Path, help="where every call goes, a line of JSON each")
    options = parser.parse_args()
    record: list[Call] = []
    lines, why = asyncio.run(results(options.apps_dir.resolve(), options.only, record))
    print("\n".join([*lines, *why]))
    if options.record:
        options.record.write_text("".join(json.dumps(asdict(call), default=_text) + "\n" for call in record))
    return int(bool(why) or len(lines) == 2)


def _text(value: object) -> str:
    assert isinstance(value, bytes | bytearray)
    return value.decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
