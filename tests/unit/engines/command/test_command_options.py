"""What can be said of a command Model when its config is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.domain.errors import CorralError, StartFailed
from corral.domain.fleet import ModelSpec, Source
from corral.domain.launch import PID, Endpoint, LaunchPlan, Place
from corral.engines.command import CommandEngine
from corral.engines.command.options import address_of

ENGINE = CommandEngine()
GOOD = ("sh", "-c", "true {port}")


def spec(command: object = GOOD, /, *, source: str = "", **fields: Any) -> ModelSpec:
    options = {"command": command, **fields.pop("options", {})}
    return ModelSpec("m", Source(source), engine="command", options=options, **fields)


def only(model: ModelSpec) -> str:
    (problem,) = ENGINE.problems(model)
    return problem


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("a", "{prot}"), "has {prot}: did you mean {port}?"),
        (("a", "{port}", "{message}"), "For the text itself write {{message}}"),
        (("a", "--port", "8000"), "never says where to listen: put {port} or {socket}"),
        (("a", "{port}", "{socket}"), "{port} and {socket}, but it can listen in one place only"),
        (("a", "{port}", "{key}"), "Put {key} into `env`, or write {key_file}"),
        (("a", "{port}", "{pid}"), "only stop_command can have it"),
        (("a", "{port}", "{source}"), "has {source}, but the Model has no source"),
        (("FOO=1", "a", "{port}"), "environment variables go under `env`"),
        (("a", "{port}", "~/x"), "write ${env.HOME}/x"),
        ("a {port} | tee log", "a pipe"),
        ("a '{port}", "a quote in it is not closed"),
        ((), "must be a command"),
    ],
)
def test_a_command_that_cannot_be(command: object, says: str) -> None:
    assert says in only(spec(command))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"health": "health"}, "options.health must be a path"),
        ({"base_path": "v1"}, "options.base_path must be a path"),
        ({"ready_pattern": "(a+)+"}, "options.ready_pattern repeats a repetition"),
        ({"stop_signal": "TERM"}, "stop_signal must be one of"),
        ({"stop_command": ("kill", "{pdi}")}, "options.stop_command has {pdi}: did you mean {pid}?"),
        ({"stop_command": ("curl", "{socket}")}, "which the command is not given"),
        ({"stop_command": "kill {pid} && true"}, "stop_command: it has & or &&"),
        ({"api_key": "two words"}, "options.api_key"),
        ({"memory": "much"}, "memory: 'much' is not a size"),
        ({"memory": {"CUDA0": -1}}, "memory: a size cannot be negative"),
        ({"memory": {"CUDA0": [1]}}, "memory must be a size, or sizes by device"),
        ({"address": "127.0.0.1:5000"}, "options.address and {port}"),
        ({"parallel": 0}, "parallel must be"),
        ({"color": "red"}, "options.color is not an option"),
    ],
)
def test_an_option_that_cannot_be(options: dict[str, Any], says: str) -> None:
    assert says in only(spec(options=options))


def test_other_keys_that_have_no_meaning() -> None:
    assert "its program is the first word" in only(spec(binary="/bin/x"))
    assert "source has no effect" in only(spec(source="/m.bin"))
    assert "args has {prot}" in only(spec(args=(("x", "{prot}"),)))
    assert "leave it out" in only(spec(options={"api_key": "k"}, env=(("K", "{key}"),)))


@pytest.mark.parametrize("text", ["5000", "host", "host:0", "host:70000", "http://h:1/x", "a b:1"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        address_of({"address": text})


def test_addresses() -> None:
    assert address_of({}) is None
    assert address_of({"address": "127.0.0.1:5000"}) == ("127.0.0.1", 5000)
    assert address_of({"address": "http://localhost:5000/"}) == ("localhost", 5000)
    assert address_of({"address": "[::1]:5000"}) == ("::1", 5000)


@pytest.mark.parametrize(
    "model",
    [
        spec("sh -c 'true {port}'"),
        spec(("sh",), env=(("PORT", "{port}"),)),
        spec(("sh",), args=(("port", "{port}"),)),
        spec(("sh",), options={"address": "127.0.0.1:1"}),
        spec(("sh", "{socket}", '{"a": {"b": 1}}', "{{asctime}}")),
        spec(("sh", "{port}"), env=(("FORMAT", "{message}"),)),
        spec(("sh", "{port}", "{source}"), source="/m.bin"),
        spec(("sh", "{port}"), options={"stop_command": "curl http://127.0.0.1:{port}/stop"}),
    ],
)
def test_good_ones(model: ModelSpec) -> None:
    assert ENGINE.problems(model) == []


async def planned(model: ModelSpec, folder: Path, **place: Any) -> LaunchPlan:
    plan = await ENGINE.plan(model, Place("i", str(folder), **place))
    assert isinstance(plan, LaunchPlan)
    return plan


async def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_text("x")
    model = spec(
        ("sh", "{model}:{port}", "{source}", "{scratch}/x", '{"port": 1}', "{{port}}"),
        source=str(tmp_path / "m.bin"),
        args=(("n", 3), ("ctx_len", 8), ("flag", True), ("no", False), ("tag", ("a", "{model}"))),
        env=(("PORT", "{port}"), ("SECRET", "k-{key}"), ("OTHER", "{message}")),
        options={"stop_command": ("stop", "{pid}", "{port}"), "stop_signal": "SIGINT", "ready_pattern": "up"},
    )
    plan = await planned(model, tmp_path, port=4242)
    assert plan.argv[0].endswith("/sh")
    assert plan.argv[1:] == (
        "m:4242", str(tmp_path / "m.bin"), f"{tmp_path}/x", '{"port": 1}', "{port}",
        "-n", "3", "--ctx-len", "8", "--flag", "--tag", "a", "--tag", "m",
    )  # fmt: skip
    assert plan.env == {"PYTHONUNBUFFERED": "1", "PORT": "4242", "OTHER": "{message}"}
    assert plan.secret_env == {"SECRET": f"k-{plan.endpoint.key}"} and plan.endpoint.key
    assert plan.stop_command == ("stop", PID, "4242")
    assert plan.stop_signal == "SIGINT" and plan.ready_pattern == "up" and plan.stop_grace_s == 2.0
    assert (plan.endpoint.host, plan.endpoint.port, plan.endpoint.socket) == ("127.0.0.1", 4242, "")
    assert plan.endpoint.model_name == "m" and plan.endpoint.v1 == "/v1" and plan.endpoint.health == "/health"


async def test_a_key_by_file_is_private_and_a_fixed_one_is_sent(tmp_path: Path) -> None:
    plan = await planned(spec(("sh", "{port}", "{key_file}")), tmp_path)
    assert plan.files == {"engine.key": plan.endpoint.key + "\n"} and plan.argv[2] == f"{tmp_path}/engine.key"
    assert (await planned(spec(options={"api_key": "fixed"}), tmp_path)).endpoint.key == "fixed"
    assert (await planned(spec(), tmp_path)).endpoint.key == ""


async def test_where_it_listens(tmp_path: Path) -> None:
    port = (await planned(spec(), tmp_path, socket="/s.sock")).endpoint
    assert port.port and not port.socket, "a place with a socket has no port: the engine takes one"
    socket = (await planned(spec(("sh", "{socket}")), tmp_path, socket="/s.sock")).endpoint
    assert socket.socket == "/s.sock" and not socket.port
    with pytest.raises(StartFailed, match="short enough for a unix socket"):
        await planned(spec(("sh", "{socket}")), tmp_path)


@pytest.mark.parametrize(("base_path", "v1"), [("/v1", "/v1"), ("/v3/", "/v3"), ("/", ""), ("", "")])
async def test_base_paths(base_path: str, v1: str, tmp_path: Path) -> None:
    plan = await planned(spec(options={"base_path": base_path, "model_name": ""}), tmp_path)
    assert plan.endpoint.v1 == v1 and plan.endpoint.model_name == ""


async def test_programs_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "script").write_text("x")
    for command, says in (
        (("pyton3", "{port}"), "There is no program 'pyton3' on PATH. Did you mean python3"),
        (("sh -c x {port}",), "give each word an item of its own"),
        (("./nope", "{port}"), f"{tmp_path}/nope does not exist"),
        (("./script", "{port}"), "may not be executed. Run `chmod +x"),
        (("./folder", "{port}"), "is a folder"),
    ):
        with pytest.raises(StartFailed) as caught:
            await planned(spec(command, options={"cwd": str(tmp_path)}), tmp_path)
        assert says in caught.value.sentence() and caught.value.permanent
    with pytest.raises(StartFailed, match="working directory"):
        await planned(spec(options={"cwd": "/no/such"}), tmp_path)
    with pytest.raises(CorralError, match=r"/no\.bin does not exist"):
        await planned(spec(("sh", "{port}", "{source}"), source="/no.bin"), tmp_path)


async def test_the_digest_knows_the_files_of_the_command(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("1")
    model = spec(("sh", "server.py", "--config=server.py", "{port}", "nothing"), options={"cwd": str(tmp_path)})
    one = ENGINE.digest_parts(model)
    script.write_text("22")
    two = ENGINE.digest_parts(model)
    assert one != two and [str(entry[0]) for entry in two["files"]][1:] == [str(script)] * 2  # type: ignore[attr-defined]


def test_declared_memory() -> None:
    assert ENGINE.declared(spec()) is None
    gib = 1024**3
    found = ENGINE.declared(spec(options={"memory": "2GiB"}))
    assert found is not None and found.by_device() == {"ram": 2 * gib}
    found = ENGINE.declared(spec(options={"memory": {"CUDA0": "3GiB", "ram": gib}}))
    assert found is not None and found.by_device() == {"ram": gib, "CUDA0": 3 * gib}


def test_the_endpoint_survives_its_handle() -> None:
    from corral.domain.launch import Handle

    end = Endpoint(host="h", port=1, key="k", model_name="n", v1="/v3", health="none")
    assert Handle.from_json(Handle("process", "i", "m", "d", end, 0.0).to_json()).endpoint == end
