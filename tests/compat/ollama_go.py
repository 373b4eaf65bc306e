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

WORDS: Final = "Sunlight is scattered in the atmosphere, and water droplets refract it."
_END: Final = re.compile(r"^\s*--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)


async def said(options: argparse.Namespace) -> str:
    """The output of all tests."""
    binary = os.environ.get("CORRAL_TEST_LLAMA_SERVER", "embedded")
    models = {
        "sky": gguf(model(DemoSpec(name="Sky", sentence=WORDS)), binary=binary),
        "all-minilm": gguf(
            model(DemoSpec(name="Embed", task=Task.EMBED, arch="bert", context=2048)),
            binary=binary,
            options={"embeddings": True, "ctx_size": 512, "parallel": 1},
        ),
    }
    test = Path(options.test).resolve()
    async with corral(models) as running:
        env = {**os.environ, "OLLAMA_HOST": running.info.address, "OLLAMA_TEST_EXISTING": "1"}
        env |= {"OLLAMA_TEST_MODEL": "sky", "CI": "1"}
        flags = ("-test.v", f"-test.run={options.run}", f"-test.timeout={options.timeout}s", "-test.count=1")
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
    parser.add_argument("--run", default=".", help="only tests whose name matches")
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--log", help="where the whole output goes")
    options = parser.parse_args()
    output = asyncio.run(said(options))
    if options.log:
        Path(options.log).write_text(output)
    found = {name: state for state, name in _END.findall(output)}
    print("| test | ended |", "|---|---|", sep="\n")
    print("\n".join(f"| `{name}` | {state.lower()} |" for name, state in sorted(found.items())))
    return int("FAIL" in found.values() or not found)


if __name__ == "__main__":
    sys.exit(main())
