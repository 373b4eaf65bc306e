"""engine: the plan, with a script in the place of llama-server that prints its recorded help."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import BadGguf, FileMissing, StartFailed
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import LaunchPlan, Place, load_digest
from corral.engines.llamacpp import LlamaCppEngine

RECORDED = Path(__file__).parents[3] / "recorded" / "llama-help"
NEW, OLD = "b11434.txt", "b4000.txt"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    return path


def engine(tmp_path: Path, recorded: str = NEW) -> LlamaCppEngine:
    """With this help on PATH; "" for no llama-server there."""
    program = tmp_path / "llama-server"
    hidden = "-e s/LLAMA_API_KEY//" if recorded == OLD else "-e ''"  # as builds before 2025 are
    program.write_text(f"#!/bin/sh\nsed {hidden} {RECORDED / recorded}\n")
    program.chmod(0o755)
    return LlamaCppEngine(which=lambda name: str(program) if recorded else None)


def model(source: Path, **values: Any) -> ModelSpec:
    return ModelSpec("coder", Source(str(source)), **values)


def place(tmp_path: Path, **values: Any) -> Place:
    return Place("i1", str(tmp_path / "s"), **(values or {"socket": "/run/x/i1.sock"}))


async def planned(engine: LlamaCppEngine, model: ModelSpec, place: Place) -> LaunchPlan:
    plan = await engine.plan(model, place)
    assert isinstance(plan, LaunchPlan)
    return plan


async def test_the_plan_for_a_binary(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    plan = await planned(engine(tmp_path), model(source, env=(("HIP_VISIBLE_DEVICES", "-1"),)), place(tmp_path))
    assert plan.argv == (
        str(tmp_path / "llama-server"),
        "--model", str(source), "--alias", "coder", "--host", "/run/x/i1.sock",
        "--metrics", "--slots", "--offline", "--no-agent", "--no-ui-mcp-proxy", "--no-cors-credentials",
        "--cors-origins", "localhost",
        "--parallel", "4", "--kv-unified", "--flash-attn", "auto", "--cache-ram", "512", "--ctx-checkpoints", "2",
        "--n-gpu-layers", "auto",
        "--verbosity", "4",
    )  # fmt: skip
    assert plan.endpoint.socket == "/run/x/i1.sock"
    assert plan.env == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "HIP_VISIBLE_DEVICES": "-1", "XDG_CONFIG_HOME": str(tmp_path / "s"),
    }  # fmt: skip
    assert {"LLAMA_", "AIP_", "HF_", "CORRAL_", "OPENAI_"} <= set(plan.env_scrub)
    assert plan.files == {} and plan.stop_signal == "SIGTERM" and plan.stop_grace_s == 2.0


async def test_the_key_is_new_each_time_and_never_in_argv(tmp_path: Path, source: Path) -> None:
    keys = set()
    for recorded in (NEW, OLD, ""):
        plan = await planned(engine(tmp_path, recorded), model(source), place(tmp_path))
        key = plan.endpoint.key
        assert len(key) >= 40 and key not in " ".join(plan.argv) and key not in str(dict(plan.env)) + repr(plan)
        hidden: Mapping[str, str] = {**plan.secret_env, **plan.files}
        assert sum(key in text for text in hidden.values()) == 1
        keys.add(key)
    assert len(keys) == 3


async def test_a_build_without_sockets_or_key_variable_gets_a_port_and_a_key_file(tmp_path: Path, source: Path) -> None:
    plan = await planned(engine(tmp_path, OLD), model(source), place(tmp_path))
    line = " ".join(plan.argv)
    assert plan.endpoint.socket == "" and plan.endpoint.port > 1023
    assert f"--host 127.0.0.1 --port {plan.endpoint.port}" in line
    assert f"--api-key-file {tmp_path}/s/engine.key" in line
    assert plan.files == {"engine.key": plan.endpoint.key + "\n"} and not plan.secret_env
    assert "--offline" not in line and "--metrics" in line


async def test_a_place_without_a_socket(tmp_path: Path, source: Path) -> None:
    for recorded in (NEW, ""):
        plan = await planned(engine(tmp_path, recorded), model(source), place(tmp_path, host="127.0.0.1", port=4567))
        assert (plan.endpoint.host, plan.endpoint.port, plan.endpoint.socket) == ("127.0.0.1", 4567, "")


async def test_the_plan_for_the_embedded_worker(tmp_path: Path, source: Path) -> None:
    plan = await planned(engine(tmp_path, ""), model(source, options={"ctx_size": 512}), place(tmp_path))
    assert plan.argv[1:] == ("-P", "-m", "corral.engines.llamacpp.worker", f"{tmp_path}/s/worker.json")
    spec = json.loads(plan.files["worker.json"])
    assert spec["model"] == str(source) and spec["alias"] == "coder" and spec["socket"] == "/run/x/i1.sock"
    assert spec["key"] == plan.endpoint.key
    assert spec["fields"]["n_ctx"] == 512 and spec["fields"]["n_parallel"] == 4


async def test_part_1_of_a_split_is_passed(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF" + bytes(60))
    plan = await planned(engine(tmp_path), model(parts[1]), place(tmp_path))
    assert plan.argv[2] == str(parts[0])


async def test_files_are_checked_before_the_start(tmp_path: Path, source: Path) -> None:
    for options, error in (
        ({"mmproj": "/gone.gguf"}, FileMissing),
        ({"lora": ("/gone.gguf",)}, FileMissing),
        ({"chat_template_file": "/gone"}, FileMissing),
        ({"media_path": "/gone"}, FileMissing),
        ({"grammar_file": "/gone"}, FileMissing),
    ):
        with pytest.raises(error, match=next(iter(options))):
            await engine(tmp_path).plan(model(source, options=options), place(tmp_path))
    with pytest.raises(FileMissing):
        await engine(tmp_path).plan(model(tmp_path / "gone.gguf"), place(tmp_path))
    source.write_bytes(b"oh no" * 20)
    with pytest.raises(BadGguf):
        await engine(tmp_path).plan(model(source), place(tmp_path))


async def test_a_model_with_problems_is_never_started(tmp_path: Path, source: Path) -> None:
    wrong = model(source, args=(("port", 9), ("host", "0.0.0.0")))
    with pytest.raises(StartFailed, match=r"args\.port is not yours") as caught:
        await engine(tmp_path).plan(wrong, place(tmp_path))
    assert caught.value.permanent and "args.host" in caught.value.hint


def test_problems_know_which_engine_would_be_used(tmp_path: Path, source: Path) -> None:
    only_binary = model(source, options={"device": ("CUDA0",)}, args=(("rpc", "a:1"),))
    assert engine(tmp_path).problems(only_binary) == []
    assert len(engine(tmp_path, "").problems(only_binary)) == 2
    forced = model(source, options={"device": ("CUDA0",)}, binary="embedded")
    assert "options.device" in engine(tmp_path).problems(forced)[0]
    llama_env = model(source, env=(("LLAMA_SET_ROWS", "1"),))
    assert engine(tmp_path).problems(llama_env) == []
    assert "LLAMA_*" in engine(tmp_path, "").problems(llama_env)[0]
    assert "needs a source" in engine(tmp_path).problems(ModelSpec("m"))[0]


async def test_the_digest_changes_with_the_program_and_every_file(tmp_path: Path, source: Path) -> None:
    projector = tmp_path / "p.gguf"
    spec = model(source, options={"mmproj": str(projector)})

    async def digest(recorded: str = NEW) -> str:
        return load_digest(engine(tmp_path, recorded).digest_parts(spec))

    seen = [await digest()]  # the projector is not there yet: no reason to raise
    projector.write_bytes(b"GGUF")
    seen.append(await digest())
    source.write_bytes(b"GGUF" + bytes(61))
    seen.append(await digest())
    seen.append(await digest(OLD))
    seen.append(await digest(""))
    assert len(set(seen)) == 5
    one = LlamaCppEngine(which=lambda name: str(tmp_path / "llama-server"))
    assert one.digest_parts(spec) == one.digest_parts(spec)


async def test_a_missing_program_is_part_of_the_digest(tmp_path: Path, source: Path) -> None:
    parts = LlamaCppEngine().digest_parts(model(source, binary="/gone/llama-server"))
    assert "does not exist" in str(parts["program"])
