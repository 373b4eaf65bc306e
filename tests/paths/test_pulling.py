"""`corral models pull` and its friends as people run them, against a hub and a registry of our own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_server import FileServer, Reply
from tests.hub_server import HubServer, sha256
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

REPO = "hf.co/org/ada-GGUF"
pytestmark = pytest.mark.timeout(120)  # a command starts a process of its own, slowly where a machine is busy


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        server.repo(
            "org/ada-GGUF",
            {"ada-Q8_0.gguf": model(ADA).read_bytes(), "ada-Q4_K_M.gguf": model(BEN).read_bytes(), "README.md": b"x"},
            downloads=1_234_567,
            likes=89,
        )
        yield server


@pytest.fixture
def home(shell: Shell, server: HubServer) -> Shell:
    shell.env |= {"HF_ENDPOINT": server.endpoint, "CORRAL_STORE__TRUSTED": server.storage, "NO_COLOR": "1"}
    return shell


def store(shell: Shell) -> Path:
    return shell.home / ".local" / "share" / "corral" / "models"


def test_a_model_comes_whole_and_only_once(home: Shell, server: HubServer) -> None:
    place = store(home) / "hf" / "org" / "ada-GGUF" / "ada-Q8_0.gguf"
    ran = home.run("models", "pull", f"{REPO}:q8_0")
    assert (ran.returncode, ran.stdout) == (0, f"{place}\n"), ran.stderr
    assert place.read_bytes() == model(ADA).read_bytes()
    size = f"{place.stat().st_size / 1e6:.1f} MB"
    assert ran.stderr.splitlines() == [
        f"[ada-q8_0] Downloading model from {REPO}:Q8_0 to {place}",
        f"[ada-q8_0] Model downloaded successfully to {place} ({size})",
    ]
    asked = len(server.paths("storage"))
    again = home.run("models", "pull", f"{REPO}:Q8_0", "--json")
    assert again.stderr == f"[ada-q8_0] Model already exists at {place}\n"
    assert json.loads(again.stdout)["files"] == [
        {"path": str(place), "role": "model", "size_bytes": place.stat().st_size, "sha256": sha256(place.read_bytes())}
    ]
    assert len(server.paths("storage")) == asked, "nothing was fetched again"


@pytest.mark.parametrize("words", [("pull", f"{REPO}:Q8_0"), ("fetch", "--repo", "org/ada-GGUF", "-q", "q8_0")])
def test_the_name_before_its_lines_is_one_that_the_store_knows(home: Shell, words: tuple[str, ...]) -> None:
    more = ("--link", str(home.home / "model.gguf")) if words[0] == "fetch" else ()
    ran = home.run("models", *words, *more)
    assert ran.returncode == 0 and "[ada-q8_0] Model downloaded successfully" in ran.stderr, ran.stderr
    (row,) = json.loads(home.run("models", "list", "--json").stdout)
    assert json.loads(home.run("models", "show", "ada-q8_0", "--json").stdout)["paths"] == row["paths"]
    assert home.run("models", "show", "ada-q4_k_m").returncode == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".x", "Let it begin with something else than a dot"),
        ("a/b", "Leave out slashes, colons and control characters."),
        ("y" * 251, "With .gguf it has 256 bytes; 255 may be."),
        ("模" * 84, "With .gguf it has 257 bytes; 255 may be."),
    ],
    ids=["a dot", "a slash", "long", "long in bytes"],
)
def test_a_name_that_cannot_be_is_said_to_be_why(home: Shell, server: HubServer, name: str, says: str) -> None:
    url = server.file("/m.gguf", model(ADA).read_bytes())
    ran = home.run("models", "pull", url, "--insecure", "--private", "--name", name)
    assert ran.returncode == 1 and says in ran.stderr, ran.stderr
    assert server.asked == []


def test_names_as_long_as_a_disk_takes_them_from_the_hub_to_their_end(home: Shell, server: HubServer) -> None:
    name = f"模型 {'y' * 243}.gguf"
    assert len(name.encode()) == 255
    server.repo("org/long", {f"ein Ordner/{name}": model(ADA).read_bytes(), "../../out.gguf": b"GGUF"})
    place, link = store(home) / "hf/org/long/ein Ordner" / name, home.home / "model.gguf"
    assert home.run("models", "pull", "hf.co/org/long").stdout == f"{place}\n"
    assert home.run("models", "verify").stdout == f"right  {place}\n"
    assert home.run("models", "fetch", "--repo", "org/long", "--filename", name, "--link", str(link)).returncode == 0
    assert link.read_bytes() == model(ADA).read_bytes()
    (row,) = json.loads(home.run("models", "list", "--json").stdout)
    assert (row["name"], row["paths"]) == ("long", [str(place)])
    assert home.run("models", "remove", "-y", "long").returncode == 0
    assert [each for each in store(home).rglob("*") if each.is_file() and each.name not in (".index", ".names")] == []


def test_another_upload_of_the_same_size_is_fetched_and_said_so(home: Shell, server: HubServer) -> None:
    data = model(ADA).read_bytes()
    for version in (data, data[:-1] + bytes([data[-1] ^ 1])):
        server.repo("org/ada-GGUF", {"ada-Q8_0.gguf": version})
        ran = home.run("models", "pull", REPO)
        assert Path(ran.stdout.strip()).read_bytes() == version
        assert "Downloading model from" in ran.stderr and "downloaded successfully" in ran.stderr
    assert "already exists" in home.run("models", "pull", REPO).stderr


def test_a_dry_run_tells_what_would_come(home: Shell, server: HubServer) -> None:
    ran = home.run("models", "pull", REPO, "--dry-run")
    assert ran.returncode == 0 and "hf/org/ada-GGUF/ada-Q4_K_M.gguf" in ran.stdout and "apache-2.0" in ran.stdout
    rows = json.loads(home.run("models", "pull", REPO, "--dry-run", "--json").stdout)
    assert rows["reference"] == REPO
    assert [each["here"] for each in rows["files"]] == [False]
    assert not store(home).exists() and server.paths("storage") == []


def test_a_token_reaches_the_hub_and_nobody_else(home: Shell, server: HubServer) -> None:
    server.repo("org/gated", {"m.gguf": model(ADA).read_bytes()}, token="hf_secret", gated=True)
    refused = home.run("models", "pull", "hf.co/org/gated")
    assert refused.returncode == 1 and "HF_TOKEN" in refused.stderr
    assert "Failed to download model from hf.co/org/gated: " in refused.stderr, "in the words of the log"
    home.env["HF_TOKEN"] = "hf_secret"
    assert home.run("models", "pull", "hf.co/org/gated").returncode == 0
    sent = {each.where for each in server.asked if "hf_secret" in each.headers.get("authorization", "")}
    assert sent == {"hub"} and server.paths("storage")


def test_from_a_pull_to_an_answer(home: Shell) -> None:
    config = home.home / "corral.yaml"
    config.write_text("# mine\nmodels: {}\n")
    ran = home.run("models", "pull", REPO, "--file", "ada-Q8_0.gguf", "--add", "--name", "ada")
    assert ran.returncode == 0, ran.stderr
    assert "added the Model ada" in ran.stderr and "# mine" in config.read_text()
    assert f"source: {REPO}/ada-Q8_0.gguf" in config.read_text(), "its reference, for other machines too"
    for repo in (REPO, REPO.replace("org", "Org")):
        assert "already" in home.run("models", "pull", f"{repo}/ada-Q8_0.gguf", "--add", "--name", "ada").stderr
    other = home.run("models", "pull", f"{REPO}:Q4_K_M", "--add", "--name", "ada")
    assert other.returncode == 1 and "has another Model ada" in other.stderr
    with home.serving():
        assert home.run("run", "ada", "hello").stdout == f"{ADA.sentence}\n"


def test_no_projector_is_written_into_the_config_and_is_not_fetched_later(home: Shell, server: HubServer) -> None:
    pictures = model(BEN).read_bytes()
    server.repo("org/see-GGUF", {"see-Q8_0.gguf": model(ADA).read_bytes(), "mmproj-F16.gguf": pictures})
    config = home.home / "corral.yaml"
    config.write_text("models: {}\n")
    ran = home.run("models", "pull", "hf.co/org/see-GGUF", "--no-mmproj", "--add", "--name", "see")
    assert ran.returncode == 0, ran.stderr
    source = json.loads(home.run("config", "show", "--json").stdout)["models"]["see"]["source"]
    assert source == {"ref": "hf.co/org/see-GGUF:Q8_0", "mmproj": "none"}
    assert home.run("models", "pull", "--all").returncode == 0
    assert not list(store(home).rglob("mmproj*"))
    again = home.run("models", "pull", "hf.co/org/see-GGUF", "--no-mmproj", "--add", "--name", "see")
    assert again.returncode == 0 and "already" in again.stderr
    with_pictures = home.run("models", "pull", "hf.co/org/see-GGUF", "--add", "--name", "see")
    assert with_pictures.returncode == 1 and "has another Model see" in with_pictures.stderr


def test_without_a_config_there_is_nothing_to_add_to(home: Shell) -> None:
    ran = home.run("models", "pull", REPO, "--add")
    assert ran.returncode == 1 and "corral config init" in ran.stderr
    assert not store(home).exists(), "it is told before it is fetched"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Say what to pull"),
        (("org/ada-GGUF",), "Did you mean hf.co/org/ada-GGUF?"),
        ((REPO, "--name", "x"), "--add"),
        ((REPO, "--sha256", "abc"), "64 hexadecimal digits"),
        (("ollama:tiny", "--quant", "Q8_0"), "no --quant"),
        ((f"{REPO}:Q8_0", "--quant", "Q4_K_M"), "say one of them"),
    ],
)
def test_wrong_usage(home: Shell, words: tuple[str, ...], said: str) -> None:
    ran = home.run("models", "pull", *words)
    assert ran.returncode == 2 and said in ran.stderr


def test_a_hash_that_is_not_the_files(home: Shell, server: HubServer) -> None:
    url = server.file("/m.gguf", model(ADA).read_bytes())
    ran = home.run("models", "pull", url, "--insecure", "--private", "--sha256", "0" * 64)
    assert ran.returncode == 1 and "SHA-256" in ran.stderr
    assert [each.name for each in store(home).rglob("*.gguf")] == []
    assert home.run("models", "pull", url, "--sha256", sha256(model(ADA).read_bytes())).returncode == 0


def test_a_file_of_this_machine_is_hashed_where_a_hash_is_given(home: Shell) -> None:
    there = f"file:{model(ADA)}"
    assert home.run("models", "pull", there, "--sha256", sha256(model(ADA).read_bytes())).returncode == 0
    ran = home.run("models", "pull", there, "--sha256", "0" * 64)
    assert ran.returncode == 1 and "its SHA-256 is" in ran.stderr and ran.stdout == ""


def test_http_and_private_addresses_only_with_leave(shell: Shell, server: HubServer) -> None:
    url = server.file("/m.gguf", model(ADA).read_bytes())
    assert "--insecure" in shell.run("models", "pull", url).stderr
    assert "--private" in shell.run("models", "pull", url, "--insecure").stderr
    assert server.asked == []
    assert shell.run("models", "pull", url, "--insecure", "--private", "--name", "mine").returncode == 0
    assert [each.name for each in store(shell).rglob("*.gguf")] == ["mine.gguf"]


def test_a_registry_with_its_token(home: Shell, server: HubServer) -> None:
    server.model("ada", {"model": model(ADA).read_bytes(), "license": b"MIT"}, namespace="me")
    server.login = "let-me-in"
    ran = home.run("models", "pull", f"ollama:{server.host}/me/ada")
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).read_bytes() == model(ADA).read_bytes()
    assert not [each for each in server.asked if each.where == "storage" and "authorization" in each.headers]
    shown = json.loads(home.run("models", "show", "ada", "--json").stdout)
    assert shown["licence"] == "MIT"
    assert "MIT" in home.run("models", "inspect", f"ollama:{server.host}/me/ada").stdout


def slow(server: HubServer) -> bytes:
    data = model(ADA).read_bytes() + bytes(3_000_000)
    server.repo("org/slow", {"slow.gguf": data})
    server.pause_s = 0.1
    return data


def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(home: Shell, server: HubServer) -> None:
    data = slow(server)
    argv = home.argv("models", "pull", "hf.co/org/slow")
    child = subprocess.Popen(argv, env=home.env, cwd=home.home, stderr=subprocess.PIPE, text=True)
    part = store(home) / "hf/org/slow/.slow.gguf.part"
    deadline = time.monotonic() + WAIT_S
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=WAIT_S)
    assert child.returncode == 130
    assert said.endswith("corral: Stopped. What has come so far is kept: the same command goes on with it.\n")
    assert part.exists()
    server.pause_s = 0.0
    server.asked.clear()
    assert home.run("models", "pull", "hf.co/org/slow").returncode == 0
    assert (store(home) / "hf/org/slow/slow.gguf").read_bytes() == data
    begins = [each.headers.get("range", "") for each in server.asked if each.where == "storage"]
    assert begins and not any(each.startswith("bytes=0-") for each in begins), "it went on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("pull", REPO), ("fetch", "--repo", "org/ada-GGUF", "--link", "model.gguf")])
def test_a_signal_while_it_is_looked_what_there_is(home: Shell, words: tuple[str, ...], number: signal.Signals) -> None:
    with FileServer(lambda ask: Reply(429, {"Retry-After": "60"})) as busy:
        home.env["HF_ENDPOINT"] = busy.origin
        argv = home.argv("models", *words)
        child = subprocess.Popen(argv, env=home.env, cwd=home.home, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + WAIT_S
        while not busy.asked:
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)
        child.send_signal(number)
        _, said = child.communicate(timeout=5)
    assert (child.returncode, said) == (
        128 + number,
        "corral: Stopped. What has come so far is kept: the same command goes on with it.\n",
    )


def test_a_bar_on_a_terminal(home: Shell, server: HubServer) -> None:
    slow(server)
    server.repos["org/slow"].files["mmproj-F16.gguf"] = model(BEN).read_bytes() + bytes(1_000_000)
    server.repo("org/slow", server.repos["org/slow"].files)
    server.pause_s = 0.05  # a second for the projector: long enough to be drawn on a busy machine
    del home.env["NO_COLOR"]
    home.env["TERM"] = "xterm-256color"
    master, slave = pty.openpty()
    try:
        argv = home.argv("models", "pull", "hf.co/org/slow")
        child = subprocess.Popen(argv, env=home.env, cwd=home.home, stderr=slave, stdout=subprocess.DEVNULL)
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the terminal's other end is closed
                break
            if not piece:
                break
            seen += piece
        assert child.wait(timeout=WAIT_S) == 0
    finally:
        os.close(master)
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "slow.gguf" in said and "mmproj-F16.gguf" in said and "downloaded successfully" in said
    for what in (
        r"\d+\.\d%",
        r"\d\.\d/\d\.\d MB",
        r"\d\.\d MB/s",
        r"\ds left",
        r" 1/2",
    ):  # share, size, speed, ETA, files
        assert re.search(what, said), what


def test_for_an_init_container(home: Shell, server: HubServer) -> None:
    link = home.home / "models" / "weights" / "model.gguf"
    home.env["CORRAL_STORE__PATH"] = str(home.home / "models" / "store")
    words = ("models", "fetch", "--repo", "org/ada-GGUF", "--quant", "Q8_0", "--link", str(link))
    ran = home.run(*words)
    assert (ran.returncode, ran.stdout) == (0, f"{link}\n"), ran.stderr
    assert os.readlink(link) == "../store/hf/org/ada-GGUF/ada-Q8_0.gguf"
    before = os.lstat(link).st_ino
    assert home.run(*words).returncode == 0 and os.lstat(link).st_ino == before, "a second run changes nothing"
    assert home.run(*words, "--filename", "ada-Q4_K_M.gguf").returncode == 0
    assert link.read_bytes() == model(BEN).read_bytes()
    assert home.run(*words[:4], "--quant", "Q2_K", "--link", str(link)).returncode == 1
    assert "Failed to download model from hf.co/org/" in home.run(*words[:4], "--quant", "Q2_K", "--link", "x").stderr
    assert home.run("models", "fetch", "--quant", "Q8_0").returncode == 2
    assert home.run("models", "fetch", "--repo", "x", "--link", str(link)).returncode == 2
    assert link.read_bytes() == model(BEN).read_bytes(), "what was good stays"


def test_where_nobody_can_be_asked_what_is_here_is_taken(home: Shell, server: HubServer) -> None:
    link = home.home / "weights" / "model.gguf"
    server.model("ada", {"model": model(ADA).read_bytes()}, namespace="me")
    home.env["CORRAL_STORE__TRUSTED"] = ",".join(server.trusted)
    commands = [
        ("models", "pull", REPO),
        ("models", "pull", f"ollama:{server.host}/me/ada"),
        ("models", "fetch", "--repo", "org/ada-GGUF", "--quant", "Q4_K_M", "--link", str(link)),
    ]
    first = [home.run(*words) for words in commands]
    link.unlink()
    server.asked.clear()
    home.env["HF_HUB_OFFLINE"] = "1"
    for words, before in zip(commands, first, strict=True):
        again = home.run(*words)
        assert (again.returncode, again.stdout) == (0, before.stdout), again.stderr
        assert "offline. What is here is taken." in again.stderr and "already exists" in again.stderr
    assert link.read_bytes() == model(BEN).read_bytes()
    assert home.run("models", "pull", f"{REPO}:Q8_0").returncode == 1, "this is not here"
    assert home.run(*commands[0], "--sha256", "0" * 64).returncode == 1, "and this is not what is here"
    home.env |= {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert home.run(*commands[2]).returncode == 0, "nor is a hub that cannot be reached a reason to fail"
    assert server.asked == []


def test_search_tells_what_fits_here(home: Shell, server: HubServer) -> None:
    server.repo("other/ada-70b-GGUF", {"m-Q4_K_M.gguf": b"GGUF" + bytes(200)}, downloads=5, gated=True, token="x")
    ran = home.run("models", "search", "ada", "gguf")
    assert ran.returncode == 0, ran.stderr
    head, first, second = ran.stdout.splitlines()
    assert head.split() == ["REPOSITORY", "DOWNLOADS", "LIKES", "CHANGED", "QUANTISATIONS", "FITS"]
    assert first.split()[:4] == ["org/ada-GGUF", "1.2M", "89", "2026-05-01"] and "Q4_K_M" in first and "Q8_0" in first
    assert "(gated)" in second and second.endswith(" ?"), "its files are shown to nobody without leave"
    assert "FITS is an estimate" in ran.stderr
    said = {"total": 300_000_000_000, "architecture": "llama", "context_length": 8192}
    server.repo("org/ada-huge-GGUF", {"m-Q4_K_M.gguf": b"GGUF" + bytes(200)}, gguf=said)
    (huge,) = json.loads(home.run("models", "search", "ada-huge", "--json").stdout)
    assert (huge["parameters"], huge["architecture"], huge["trained_context_tokens"]) == (*said.values(),)
    rows = json.loads(home.run("models", "search", "ada", "--json").stdout)
    assert rows[0]["default"] == "Q4_K_M" and {each["fits"] for each in rows[0]["quantisations"]} <= {"gpu", "ram"}
    nothing = home.run("models", "search", "nothing-like-it")
    assert (nothing.returncode, nothing.stdout) == (0, "") and "fewer words" in nothing.stderr
    assert home.run("models", "search", "nothing-like-it", "--json").stdout == "[]\n"


def test_a_search_is_for_gguf_files_by_downloads(home: Shell, server: HubServer) -> None:
    data = b"GGUF" + bytes(200)
    for name, downloads in (("few", 3), ("most", 300), ("some", 30)):
        server.repo(f"org/cat-{name}-GGUF", {"m-Q4_K_M.gguf": data}, downloads=downloads, likes=1000 - downloads)
    server.repo("org/cat-original", {"model.safetensors": data}, downloads=9_999_999)
    found = json.loads(home.run("models", "search", "cat", "--json").stdout)
    assert [each["downloads"] for each in found] == [300, 30, 3], "the one without such files is left out"
    found = json.loads(home.run("models", "search", "cat", "-n", "2", "--json").stdout)
    assert [each["downloads"] for each in found] == [300, 30]


def test_suggestions_need_no_network(shell: Shell) -> None:
    shell.env["HF_HUB_OFFLINE"] = "1"
    rows = json.loads(shell.run("models", "suggest", "--all", "--json").stdout)
    assert len(rows["models"]) >= 8 and rows["date"].startswith("20")
    shown = shell.run("models", "suggest")
    assert shown.returncode == 0 and "Sizes are about, and FITS is an estimate." in shown.stdout
    assert shown.stdout.startswith("Models may have ")
    ran = shell.run("models", "suggest", "--pull", stdin="1\n")
    assert ran.returncode == 1 and "offline" in ran.stderr
    assert shell.run("models", "suggest", "--pull", stdin="99\n").returncode == 2
    assert shell.run("models", "suggest", "--pull", stdin="\n").returncode == 0


def test_what_another_program_has_fetched_is_linked(home: Shell, server: HubServer) -> None:
    data = model(ADA).read_bytes()
    cache = home.home / ".cache/huggingface/hub/models--org--ada-GGUF"
    blob, link = cache / "blobs" / sha256(data), cache / "snapshots" / "abc" / "ada-Q8_0.gguf"
    for path in (blob, link, cache / "refs" / "main"):
        path.parent.mkdir(parents=True)
    blob.write_bytes(data)
    link.symlink_to(os.path.relpath(blob, link.parent))
    (cache / "refs" / "main").write_text("abc")
    ran = home.run("models", "pull", f"{REPO}:Q8_0")
    assert ran.returncode == 0, ran.stderr
    assert os.path.samefile(ran.stdout.strip(), blob) and not Path(ran.stdout.strip()).is_symlink()
    assert server.paths("storage") == []
    assert home.run("models", "pull", f"{REPO}:Q8_0").returncode == 0 and server.paths("storage") == []


def test_what_is_damaged_elsewhere_is_fetched(home: Shell, server: HubServer) -> None:
    data = model(ADA).read_bytes()
    blob = home.home / ".ollama/models/blobs" / f"sha256-{sha256(data)}"
    manifest = home.home / ".ollama/models/manifests/registry.ollama.ai/library/ada/latest"
    for path in (blob, manifest):
        path.parent.mkdir(parents=True)
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    kind, digest = "application/vnd.ollama.image.model", f"sha256:{sha256(data)}"
    layers = [{"mediaType": kind, "digest": digest, "size": len(data)}]
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    place = Path(home.run("models", "pull", f"{REPO}:Q8_0").stdout.strip())
    assert place.read_bytes() == data and not os.path.samefile(place, blob) and server.paths("storage")
    blob.write_bytes(data)
    place.unlink()
    again = Path(home.run("models", "pull", f"{REPO}:Q8_0").stdout.strip())
    assert os.path.samefile(again, blob), "by its hash, whoever has it"


def test_a_suggestion_is_picked_and_pulled(home: Shell, server: HubServer) -> None:
    rows = json.loads(home.run("models", "suggest", "--json").stdout)["models"]
    repo, _, quant = rows[0]["reference"].removeprefix("hf.co/").partition(":")
    server.repo(repo, {f"m-{quant or 'Q4_K_M'}.gguf": model(ADA).read_bytes()})
    ran = home.run("models", "suggest", "--pull", stdin="1\n")
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.splitlines()[-1]).read_bytes() == model(ADA).read_bytes()


def test_all_of_a_config(home: Shell, server: HubServer) -> None:
    config = home.home / "corral.yaml"
    config.write_text(
        f"models:\n  a: {{source: '{REPO}:Q8_0'}}\n"
        f"  b: {{source: {{ref: '{REPO}', file: ada-Q4_K_M.gguf, auto_download: false}}}}\n"
        "  gone: {source: hf.co/org/nothing}\n"
        f"  here: {{source: '{model(ADA)}'}}\n"
    )
    ran = home.run("models", "pull", "--all", "--json")
    assert ran.returncode == 1, "one of them is nowhere"
    rows = {row["model"]: row for row in json.loads(ran.stdout)}
    assert set(rows) == {"a", "b", "gone"} and rows["gone"]["error"]
    assert Path(rows["a"]["path"]).read_bytes() == model(ADA).read_bytes()
    assert Path(rows["b"]["path"]).read_bytes() == model(BEN).read_bytes()
    assert "[gone] Failed to download model from hf.co/org/nothing: " in ran.stderr
    for name in ("a", "b"):
        said = [line for line in ran.stderr.splitlines() if line.startswith(f"[{name}] ")]
        assert len(said) == 2 and said[0].startswith(f"[{name}] Downloading model from {REPO}")
        size = f"{Path(rows[name]['path']).stat().st_size / 1e6:.1f} MB"
        assert said[1] == f"[{name}] Model downloaded successfully to {rows[name]['path']} ({size})"
    assert "1 of 3 could not be fetched: gone." in ran.stderr
    config.write_text(config.read_text().replace("  gone: {source: hf.co/org/nothing}\n", ""))
    asked = len(server.asked)
    again = home.run("models", "pull", "--all")
    assert again.returncode == 0 and again.stderr.count("already exists") == 2
    assert len(server.asked) == asked, "and nobody is asked"
    for more in ((REPO,), ("--no-mmproj",), ("--quant", "Q8_0"), ("--dry-run",)):
        assert home.run("models", "pull", "--all", *more).returncode == 2


def test_all_of_a_config_needs_the_same_leave(shell: Shell, server: HubServer) -> None:
    url = server.file("/m.gguf", model(ADA).read_bytes())
    (shell.home / "corral.yaml").write_text(f"models:\n  mine: {{source: '{url}'}}\n")
    assert "--insecure" in shell.run("models", "pull", "--all").stderr
    assert "--private" in shell.run("models", "pull", "--all", "--insecure").stderr
    assert server.asked == []
    ran = shell.run("models", "pull", "--all", "--insecure", "--private")
    assert ran.returncode == 0, ran.stderr
    assert len(list(store(shell).rglob("m.gguf"))) == 1
