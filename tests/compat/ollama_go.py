"""
Ollama's own integration tests against a Corral.

    cd OLLAMA/integration && go test -c -tags integration,fast -o ollama.test .
    python -m tests.compat.ollama_go OLLAMA/integration/ollama.test

OLLAMA is a source tree of Ollama; `go` fetches what it needs. The tests look for words about the sky and the rainbow
in the answers, so the Model that they get is one that always says them. Prints how each test ended, as Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from corral.store.gguf.demo import DemoSpec, Task
from tests.corrals import corral, gguf
from tests.models import model

WORDS: Final = "Once upon a time sunlight was scattered 🌈 in the atmosphere of Europe, on a day of independence."
NAMED: Final = ("llama3.2", "llama3.2:1b")
"""Names that are written into the tests, as aliases."""
PASSES: Final = (
    ("sky", "."),
    ("willow", "TestTools"),
    ("", "TestAPI/api-(list|show)|TestEmbedding|TestBasic/num-predict"),
)
"""Model for all tests ("" leaves each its own), and which of them are run with it."""
_END: Final = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)


async def said(options: argparse.Namespace) -> list[str]:
    """The output of each pass."""
    binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "embedded")
    models = {
        "sky": gguf(model(DemoSpec(name="Sky", sentence=WORDS)), binary=binary, aliases=NAMED, listed_aliases=True),
        "willow": gguf(
            model(DemoSpec(name="Willow", sentence="I am Willow. It is sunny.", task=Task.OBEY)), binary=binary
        ),
        "all-minilm": gguf(
            model(DemoSpec(name="Embed", task=Task.EMBED, arch="bert", context=2048)),
            binary=binary,
            options={"embeddings": True, "ctx_size": 512, "parallel": 1},
        ),
    }
    async with corral(models) as running:
        return [await one(options, running.info.address, name, chosen) for name, chosen in PASSES]


async def one(options: argparse.Namespace, address: str, name: str, chosen: str) -> str:
    """The output of one pass."""
    test = Path(options.test).resolve()
    env = {**os.environ, "OLLAMA_HOST": address, "OLLAMA_TEST_EXISTING": "1", "OLLAMA_TEST_MODEL": name}
    flags = ("-test.v", f"-test.run={chosen}", f"-test.timeout={options.timeout}s", "-test.count=1")
    process = await asyncio.create_subprocess_exec(
        str(test), *flags, env=env, cwd=test.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(options.timeout + 20):
        output, _ = await process.communicate()
    return output.decode("utf-8", "replace")


def main() -> int:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", help="the compiled tests")
    parser.add_argument("--timeout", type=int, default=900)
    parser.add_argument("--log", help="where the whole output goes")
    options = parser.parse_args()
    outputs = asyncio.run(said(options))
    if options.log:
        Path(options.log).write_text("\n".join(outputs))
    found: dict[str, str] = {}
    for output in outputs:
        for state, name in _END.findall(output):
            if found.get(name) != "PASS":  # one that fails with one model for lack of talent passes with another
                found[name] = state
    whole = {name: state for name, state in found.items() if not any(f"{name}/" in other for other in found)}
    print("| test | ended |", "|---|---|", sep="\n")
    print("\n".join(f"| `{name}` | {state.lower()} |" for name, state in sorted(whole.items())))
    return int("FAIL" in whole.values() or not whole)


if __name__ == "__main__":
    sys.exit(main())
