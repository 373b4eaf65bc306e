"""Every option reaches the engine, by the binary and by the wheel, or is refused with a sentence: see `evidence`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import re
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import StartFailed
from corral.domain.fleet import OptionValue
from corral.domain.launch import LaunchPlan, Place
from corral.engines.llamacpp import LlamaCppEngine, worker
from corral.engines.llamacpp.options import BY_NAME
from corral.engines.llamacpp.spellings import spelling
from tests import second_files
from tests.models import ADA, model
from tests.real import behaviours
from tests.real.evidence import DRAFT, GROUPS, REFUSED, Does, Group, Log, Parsed, Props, Row, Seen, Setting
from tests.real.llama import BINARY, EMBEDDED, Running, spec, started

ROWS = [row for group in GROUPS for row in group.rows]
SMALL: dict[str, OptionValue] = {"ctx_size": 512, "parallel": 2, "threads": 1, "cache_ram": 0, "verbosity": 5}
FILES = {
    "grammar": 'root ::= "file"',
    "schema": '{"type": "integer"}',
    "template": "{{ messages[0].content }}!",
    "lookup": "",
}
PROJECTOR = str(second_files.projector())
by_program = pytest.mark.parametrize(
    "program", [pytest.param(EMBEDDED), pytest.param(BINARY, marks=pytest.mark.llama_server, id="binary")]
)


def test_every_option_has_evidence() -> None:
    assert {row.option for row in ROWS} == BY_NAME.keys()
    assert {name for name, count in Counter(row.option for row in ROWS).items() if count > 1} == set()


def seen_by(row: Row, program: str) -> Seen | str:
    return row.wheel if program == EMBEDDED and row.wheel is not None else row.binary


def value(given: OptionValue, folder: Path) -> OptionValue:
    """The value with what `FILE:`, `SCALED:` and `FOLDER:` stand for."""
    text = given if isinstance(given, str) else ""
    kind, _, name = text.partition(":")
    match kind, name:
        case "FILE", "projector":
            return str(second_files.projector())
        case "FILE", "lora":
            return (str(second_files.lora()),)
        case "SCALED", "lora":
            return (f"{second_files.lora(name='other')}:0.5",)
        case "FILE", _:
            (folder / name).write_text(FILES[name])
            return str(folder / name)
        case "FOLDER", _:
            (folder / name).parent.mkdir(exist_ok=True)
            if "/" not in name:
                (folder / name).mkdir(exist_ok=True)
            return str(folder / name)
    return given


def options_of(group: Group, program: str, folder: Path) -> dict[str, OptionValue]:
    chosen = {row.option: value(row.value, folder) for row in group.rows if seen_by(row, program) != REFUSED}
    return {**SMALL, **group.beside, **chosen}


@by_program
@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
async def test_options_reach_the_engine(group: Group, program: str, short_tmp: Path) -> None:
    rows = [row for row in group.rows if seen_by(row, program) != REFUSED]
    if not rows:
        return
    files = short_tmp / "files"
    files.mkdir()
    options = options_of(group, program, files)
    if "fit" not in options and "fit_target" not in options:
        options["fit"] = "off"  # a second load of the model, only to look at it
    async with started(spec(model(group.model), program, options=options), short_tmp) as engine:
        await engine.ready()
        log = await engine.settled_log()
        missing = [f"{row.option}: {wrong}" for row in rows if (wrong := await unseen(row, program, engine, log))]
    assert missing == []


async def unseen(row: Row, program: str, engine: Running, log: list[str]) -> str:
    """Why this option is not seen to have reached the engine; "" where it is."""
    match seen_by(row, program):
        case Log(pattern, absent):
            found = [line for line in log if re.search(pattern, line)]
            return "" if bool(found) is not absent else f"log: {pattern} {found[:1]}"
        case Props(path, wanted):
            return differs(await engine.get("/props"), path, wanted)
        case Setting(path, wanted):
            _, answer = await engine.post("/completion", {"prompt": "a", "n_predict": 1})
            return differs(answer["generation_settings"], path, wanted)
        case Does(name):
            await getattr(behaviours, name)(engine)
            return ""
        case Parsed() as parsed:
            return in_fields(row, parsed, engine) if program == EMBEDDED else in_arguments(row, engine)
    raise AssertionError(row)


def differs(found: Any, path: str, wanted: Any) -> str:
    for key in path.split("."):
        found = found[key]
    same = abs(found - wanted) < 1e-6 if isinstance(wanted, float) else found == wanted
    return "" if same else f"{path} is {found!r}, not {wanted!r}"


def in_arguments(row: Row, engine: Running) -> str:
    argv = engine.plan.argv
    found = [at for at, part in enumerate(argv) if part in (*spelling(row.option).on, *spelling(row.option).off)]
    if not found:
        return "not among the arguments"
    value = engine.model.options[row.option]
    if isinstance(value, bool):
        return ""  # `--flag`, `--no-flag` or `--flag 0`: what each means is said in the tests of argv
    wanted, given = ",".join(value) if isinstance(value, tuple) else str(value), argv[found[0] + 1]
    return "" if given == wanted else f"{given} is not {wanted}"


def in_fields(row: Row, parsed: Parsed, engine: Running) -> str:
    """What the worker has set on the wheel's CommonParams, read back."""
    import xllamacpp

    if not parsed.field:
        return ""  # the name of a device: see test_a_device_that_is_not_there
    fields = json.loads(engine.plan.files["worker.json"])
    at = worker._params(xllamacpp, fields)
    fresh: Any = xllamacpp.CommonParams()
    for step in parsed.field.split("."):
        at, fresh = getattr(at, step), getattr(fresh, step)
    if parsed.held is None:
        return "" if at != fresh else f"{parsed.field} is still {at!r}"
    held = getattr(at, "name", at)
    if isinstance(parsed.held, list):
        held = held[: len(parsed.held)]
    same = abs(held - parsed.held) < 1e-6 if isinstance(parsed.held, float) else held == parsed.held
    return "" if same else f"{parsed.field} is {held!r}"


@pytest.mark.llama_server
@pytest.mark.parametrize(
    "row", [row for row in ROWS if isinstance(row.binary, Parsed) and row.binary.bad], ids=lambda row: row.option
)
async def test_the_binarys_parser_reads_what_nothing_shows(row: Row, short_tmp: Path) -> None:
    """A value that it refuses with the flag's name shows that this flag takes the value."""
    assert isinstance(row.binary, Parsed)
    plan = await planned(row, short_tmp)
    at = next(index for index, part in enumerate(plan.argv) if part in spelling(row.option).on)
    argv = [*plan.argv[: at + 1], row.binary.bad, *plan.argv[at + 2 :]]
    done = await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, timeout=20, env=dict(plan.env), cwd=short_tmp
    )
    assert done.returncode == 1
    assert f'handling argument "{plan.argv[at]}"' in done.stderr, done.stderr


async def planned(row: Row, folder: Path) -> LaunchPlan:
    """A start with this option and what it needs."""
    group = next(group for group in GROUPS if row in group.rows)
    options = options_of(group, BINARY, folder)
    wanted = spec(model(group.model), BINARY, options=options)
    plan = await LlamaCppEngine().plan(wanted, Place("i", str(folder), socket=str(folder / "e.sock")))
    assert isinstance(plan, LaunchPlan)
    return plan


@pytest.mark.parametrize("option", ["device", "device_draft", "mmproj_device"])
@by_program
async def test_a_device_that_is_not_there(option: str, program: str, short_tmp: Path) -> None:
    """Names of devices are seen to reach an engine without GPUs by what it says of them."""
    if program == EMBEDDED and option == "device":
        return  # refused with a sentence
    needed = {"device_draft": {"model_draft": str(model(DRAFT))}, "mmproj_device": {"mmproj": PROJECTOR}}
    options = {**SMALL, **needed.get(option, {}), option: "CUDA99" if option == "mmproj_device" else ("CUDA99",)}
    async with started(spec(model(ADA), program, options=options), short_tmp) as engine:
        with pytest.raises(StartFailed, match="no device CUDA99") as caught:
            await engine.ready()
    assert "--list-devices" in caught.value.hint


@by_program
async def test_weights_that_are_no_numbers_are_found(program: str, short_tmp: Path) -> None:
    """What `check_tensors` is for."""
    data = bytearray(model(ADA).read_bytes())
    data[-4:] = struct.pack("<f", math.nan)
    damaged = short_tmp / "damaged.gguf"
    damaged.write_bytes(data)
    async with started(spec(damaged, program, options={**SMALL, "check_tensors": True}), short_tmp) as engine:
        with pytest.raises(StartFailed, match="invalid weights"):
            await engine.ready()
    async with started(spec(damaged, program, options=SMALL), short_tmp) as engine:
        await engine.ready()


@pytest.mark.parametrize("row", [row for row in ROWS if row.wheel == REFUSED], ids=lambda row: row.option)
def test_what_the_wheel_cannot_do_is_a_sentence(row: Row) -> None:
    group = next(group for group in GROUPS if row in group.rows)
    needed = {each.option: each.value for each in group.rows if each.option == "control_vector_scaled"}
    wanted = spec(Path("/m.gguf"), EMBEDDED, options={**needed, row.option: row.value})
    assert any(f"options.{row.option}" in sentence for sentence in LlamaCppEngine().problems(wanted))
    by_binary = dataclasses.replace(wanted, binary="/usr/bin/llama-server")
    assert LlamaCppEngine().problems(by_binary) == []
