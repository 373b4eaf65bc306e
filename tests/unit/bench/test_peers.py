"""How the programs of the benchmark are set up."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from corral.bench.peers import Peer, Place, litellm


def test_litellm_does_the_same_work_as_others(tmp_path: Path) -> None:
    """Without being told, it asks an OpenAI engine's /v1/responses for what is asked of its /v1/messages."""
    program = tmp_path / "litellm"
    program.write_text("#!/bin/sh\necho\necho LiteLLM: Current Version = 1.2.3\n")
    program.chmod(0o755)
    found = litellm(Place(str(tmp_path), 7, "", {"litellm": str(program)}))
    assert isinstance(found, Peer)
    settings = json.loads(Path(found.argv[2]).read_text())
    assert settings["litellm_settings"] == {"use_chat_completions_url_for_anthropic_messages": True}
    assert settings["model_list"][0]["litellm_params"]["api_base"] == "http://127.0.0.1:7/v1"
    assert (found.version, found.translates) == ("1.2.3", ("messages",))


def test_the_version_of_a_program_in_an_environment_is_asked_of_its_python(tmp_path: Path) -> None:
    """The program itself may take a minute to say it."""
    program = tmp_path / "litellm"
    program.write_text("#!/bin/sh\necho 0.0.0\n")
    (tmp_path / "python").write_text(f"#!{sys.executable}\nprint('4.5.6')\n")
    for each in (program, tmp_path / "python"):
        each.chmod(0o755)
    found = litellm(Place(str(tmp_path), 7, "", {"litellm": str(program)}))
    assert isinstance(found, Peer) and found.version == "4.5.6"
