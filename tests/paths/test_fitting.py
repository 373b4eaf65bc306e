"""`corral models fit` as people type it, and the route: with a Corral that runs, and without one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from corral.domain.fleet import ModelSpec, Source
from corral.domain.references import parse
from corral.domain.storage import StoreSpec
from corral.store.fetches import StoreFetches
from tests.architectures import architecture, with_heads
from tests.corrals import Running, corral
from tests.hub_server import HubServer
from tests.models import ADA, model
from tests.paths.relay_kit import stage
from tests.paths.shell_kit import Shell, shell
from tests.paths.test_relay_control import FakeControl
from tests.paths.test_relay_doors import KEYS
from tests.second_files import lora, projector

pytestmark = pytest.mark.timeout(120)  # a command starts a process of its own, slowly where a machine is busy

__all__ = ["shell"]


def device(load: dict[str, Any], name: str) -> dict[str, Any]:
    """One row."""
    (found,) = [each for each in load["devices"] if each["device"] == name]
    return dict(found)


def test_of_a_file_without_a_corral(shell: Shell) -> None:
    ran = shell.run("models", "fit", str(architecture("gemma3")), "--ctx", "8192", "--parallel", "4")
    assert ran.returncode == 0, ran.stderr
    assert "As asked: 8192 tokens of context, 4 slots, 0 of 13 layers on GPUs." in ran.stdout
    assert "The cache is 8 MiB keys and values of the whole context, 22.5 MiB of sliding windows." in ran.stdout
    assert "Speed, an estimate: at most" in ran.stdout and "ram" in ran.stdout
    ran = shell.run("models", "fit", str(architecture("bert")))
    assert "It is a model for embeddings: that takes options.embeddings: true." in ran.stdout.splitlines()


def test_of_gpus_that_are_not_here(shell: Shell) -> None:
    file = str(architecture("qwen3moe"))
    ran = shell.run("models", "fit", file, "--memory", "600MiB,1GiB", "--memory", "ram=8GiB", "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["recommended"]["options"]["n_gpu_layers"] == "all"
    load = found["recommended"]["load"]
    assert device(load, "ram")["total_bytes"] == 8 * 1024**3
    assert all(each["fits"] == "now" for each in load["devices"])
    for words in ("300MiB", "0", "300MiB,300MiB"):
        ran = shell.run("models", "fit", file, "--memory", words)
        assert (ran.returncode, "The GPUs are too small to help: it runs in RAM." in ran.stdout) == (0, True), words
    small = shell.run("models", "fit", file, "--memory", "ram=100MiB,64MiB")
    assert small.returncode == 1
    assert "Nothing fits here" in small.stdout


def test_advice_is_for_an_engine_that_takes_it(shell: Shell) -> None:
    """No llama-server is on PATH: the embedded engine takes no names of GPUs, and has none here."""
    words = ("models", "fit", str(architecture("llama")), "--memory", "24GiB,8GiB")
    ran = shell.run(*words)
    assert ran.returncode == 0, ran.stderr
    assert "device: [CUDA1]" in ran.stdout
    assert "  It needs a llama-server built for CUDA: the engine that is here cannot use CUDA1. " in ran.stdout
    asked = shell.run(*words, "--device", "CUDA0", "--json")
    assert asked.returncode == 0, "it is that llama-server that is asked for"
    assert "CUDA0" in json.loads(asked.stdout)["recommended"]["needs"]
    alone = shell.run("models", "fit", str(architecture("llama")), "--memory", "ram=8GiB")
    assert "needs a llama-server" not in alone.stdout


def test_every_option_counts(shell: Shell) -> None:
    options = {"ctx": "8192", "parallel": "2", "cache-type-k": "q8_0", "cache-type-v": "q4_0", "n-gpu-layers": "3",
               "memory": "24GiB"}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    ran = shell.run("models", "fit", str(architecture("llama")), *words, "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    asked = found["asked"]
    assert (asked["context_tokens"], asked["slots"], asked["gpu_layers"]) == (8192, 2, 3)
    assert [each["device"] for each in asked["devices"] if each["weights_bytes"]] == ["ram", "CUDA0"]
    of_a_token = 2 * 64 * 34 // 32 + 2 * 64 * 18 // 32  # two heads of 64: keys in q8_0, values in q4_0
    assert sum(each["cache_bytes"] for each in asked["devices"]) == 8 * 8192 * of_a_token
    chosen = {"ctx_size", "parallel", "cache_type_k", "cache_type_v", "n_gpu_layers"}
    assert not chosen & found["recommended"]["options"].keys()


def test_of_a_model_of_the_config(shell: Shell) -> None:
    text = {
        "models": {"coder": {"source": f"path:{architecture('llama')}", "options": {"ctx_size": 4096, "parallel": 2}}}
    }
    (Path(shell.home) / "corral.yaml").write_text(json.dumps(text))
    ran = shell.run("models", "fit", "coder", "--json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["model"], found["asked"]["context_tokens"], found["asked"]["slots"]) == ("coder", 4096, 2)
    assert not {"ctx_size", "parallel"} & found["recommended"]["options"].keys(), "what the config says is not changed"
    longer = json.loads(shell.run("models", "fit", "coder", "--ctx", "16384", "--json").stdout)
    assert longer["asked"]["context_tokens"] == 16384


def test_of_what_is_in_the_store_by_its_name(shell: Shell) -> None:
    assert shell.run("models", "import", str(architecture("llama")), "--name", "mine").returncode == 0
    alone = json.loads(shell.run("models", "fit", "mine", "--ctx", "4096", "--json").stdout)
    assert (alone["model"], alone["architecture"], alone["asked"]["context_tokens"]) == ("mine", "llama", 4096)
    elsewhere = ("models", "fit", "mine", "--memory", "ram=8GiB,2GiB,600MiB", "--json")
    imagined = json.loads(shell.run(*elsewhere).stdout)
    with shell.serving(str(architecture("qwen3"))):
        assert json.loads(shell.run(*elsewhere).stdout) == imagined, "one answer, whoever is asked"
        asked = json.loads(shell.run("models", "fit", "mine", "--ctx", "4096", "--json").stdout)
        assert asked["asked"]["devices"][0]["weights_bytes"] == alone["asked"]["devices"][0]["weights_bytes"]
        ran = shell.run("models", "fit", "nobody")
        what = "`corral models list` shows what is there; hf.co/ORG/REPO is elsewhere.\n"
        assert ran.stderr == f"corral: No Model is named 'nobody'. `corral ps --all` lists them. {what}"
        assert ran.returncode == 1
    ran = shell.run("models", "fit", "nobody")
    assert (ran.returncode, ran.stderr) == (
        1,
        f"corral: 'nobody' is no file, and nothing in the store has that name. {what}",
    )


def test_mistakes_are_sentences(shell: Shell, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model at all, whatever its name says")
    file = str(architecture("llama"))
    for words, code, sentence in (
        ([str(bad)], 1, "is not a GGUF file"),
        ([str(tmp_path / "none.gguf")], 1, "There is no file"),
        ([file, "--n-gpu-layers", "many"], 2, "must be a number, auto or all"),
        ([file, "--memory", "much"], 1, "'much' is no memory"),
        ([file, "--cache-type-k", "q8"], 1, "cache_type_k"),
        ([file, "--device", "CUDA1"], 1, "The embedded engine cannot do options.device"),
        ([str(with_heads(80)), "--cache-type-k", "q4_0"], 1, "options.cache_type_k cannot be q4_0 for this model"),
        ([str(projector())], 1, "is a multimodal projector: name it as options.mmproj of its model."),
        ([str(lora())], 1, "is an adapter: name it as options.lora of its model."),
    ):
        ran = shell.run("models", "fit", *words)
        assert (ran.returncode, sentence in ran.stderr) == (code, True), (words, ran.stderr)
        assert len(ran.stderr.strip().splitlines()) == 1


def test_what_is_served_with_a_name_counts(shell: Shell) -> None:
    """Its projector, whoever is asked; a path is the file alone."""
    folder = shell.home / "files"
    folder.mkdir()
    shutil.copyfile(model(ADA), folder / "ada.gguf")
    eyes = shutil.copyfile(projector(), folder / "mmproj-F16.gguf")
    ran = shell.run("models", "import", str(folder / "ada.gguf"))
    assert ran.returncode == 0, ran.stderr

    def taken(word: str) -> int:
        found = shell.run("models", "fit", word, "--ctx", "512", "--parallel", "1", "--json")
        assert found.returncode == 0, found.stderr
        return sum(each["weights_bytes"] for each in json.loads(found.stdout)["asked"]["devices"])

    alone = taken(str(folder / "ada.gguf"))
    assert alone < taken("ada") <= alone + eyes.stat().st_size
    by_name = taken("ada")
    with shell.serving(str(architecture("qwen3"))):
        assert (taken("ada"), taken(str(folder / "ada.gguf"))) == (by_name, alone)


async def test_a_running_corral_says_the_same_by_its_route(tmp_path: Path) -> None:
    path = str(architecture("llama"))
    model = ModelSpec("coder", Source(path), aliases=("c",), options={"ctx_size": 8192, "parallel": 2})
    async with corral({"coder": model}) as running:
        answer = await running.http.post("/api/corral/fit", json={"model": "c"})
        assert answer.status_code == 200, answer.text
        named = answer.json()
        assert (named["model"], named["asked"]["context_tokens"]) == ("coder", 8192)
        assert named["asked"]["fits"] == "now"
        by_path = (
            await running.http.post(
                "/api/corral/fit", json={"model": path, "options": {"ctx_size": 8192, "parallel": 2}}
            )
        ).json()
        assert by_path["asked"]["devices"][0]["needs_bytes"] == named["asked"]["devices"][0]["needs_bytes"]
        for body, status in (
            ({"model": "nobody"}, 404),
            ({"model": "c", "ctx_size": 5}, 400),
            ({"model": "c", "options": {"ctx_sise": 5}}, 400),
            ({"model": "c", "options": {"ctx_size": -5}}, 400),
            ({"model": "c", "options": {"cache_type_v": "q8_0", "flash_attn": "off"}}, 400),
            ({"model": "c", "memory": ["x"]}, 400),
        ):
            answer = await running.http.post("/api/corral/fit", json=body)
            assert answer.status_code == status, (body, answer.text)


async def test_a_file_that_cannot_be_fitted_is_no_fault_that_passes(tmp_path: Path) -> None:
    """Clients send again what is answered with 503."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model at all, whatever its name says")
    models = {name: ModelSpec(name, Source(str(tmp_path / f"{name}.gguf"))) for name in ("bad", "gone")}
    async with corral(models) as running:
        for model, code, words in (
            (str(bad), "bad_gguf", "is not a GGUF file"),
            ("/no/such/file.gguf", "file_missing", "There is no file"),
            ("bad", "bad_gguf", "is not a GGUF file"),
            ("gone", "file_missing", "There is no file"),
        ):
            answer = await running.http.post("/api/corral/fit", json={"model": model})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, code), error
            assert words in error["message"] and error["type"] != "server_error"


async def test_the_route_needs_the_admin_scope_and_a_store() -> None:
    async with stage(control=FakeControl(), keys=KEYS) as scene:
        for headers, status in (((), 401), (("Authorization: Bearer sk-user",), 403)):
            assert (await scene.post("/api/corral/fit", {"model": "m"}, *headers)).status == status
        got = await scene.post("/api/corral/fit", {"model": "m"}, "Authorization: Bearer sk-boss")
        assert (got.status, got.code) == (404, "not_found")


def test_of_a_repository_of_the_hub(shell: Shell) -> None:
    whole = architecture("qwen3moe")
    first, second = whole.read_bytes(), architecture("gpt-oss-mxfp4").read_bytes()
    files = {"Tiny-Q4_K_M.gguf": first, "Tiny-Q8_0.gguf": first + bytes(len(first)), "Tiny-Q2_K.gguf": second}
    with HubServer() as hub:
        hub.repo("org/Tiny-GGUF", {**files, "mmproj-F16.gguf": projector().read_bytes()})
        settings = {"store": {"endpoint": hub.endpoint, "trusted": [*hub.trusted]}}
        (shell.home / "corral.yaml").write_text(json.dumps(settings))
        words = ("models", "fit", "hf.co/org/Tiny-GGUF", "--memory", "900MiB", "--ctx", "8192")
        ran = shell.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        text = shell.run(*words).stdout
        bodies = [each for each in hub.asked if each.where == "storage"]
    assert bodies and all("range" in each.headers for each in bodies), "only headers are read"
    found = json.loads(ran.stdout)
    assert (found["architecture"], found["size_bytes"]) == ("qwen3moe", len(first))
    here = json.loads(shell.run("models", "fit", str(whole), "--memory", "900MiB", "--ctx", "8192", "--json").stdout)
    gpu, own = device(found["recommended"]["load"], "CUDA0"), device(here["recommended"]["load"], "CUDA0")
    assert own["cache_bytes"] == gpu["cache_bytes"]
    assert gpu["weights_bytes"] > own["weights_bytes"], "its projector comes with it"
    sizes = {each["quantisation"]: each["size_bytes"] for each in found["quantisations"]}
    assert sizes == {"Q2_K": len(second), "Q4_K_M": len(first), "Q8_0": 2 * len(first)}
    assert [each["quantisation"] for each in found["quantisations"] if each["recommended"]] == ["Q8_0"]
    assert "Q8_0 *" in text and "* recommended" in text


def test_a_cache_type_that_a_model_elsewhere_cannot_have(shell: Shell) -> None:
    with HubServer() as hub:
        hub.repo("org/Odd-GGUF", {"Odd-Q8_0.gguf": with_heads(80).read_bytes(), "mmproj-F16.gguf": b""})
        settings = {"store": {"endpoint": hub.endpoint, "trusted": [*hub.trusted]}}
        (shell.home / "corral.yaml").write_text(json.dumps(settings))
        ran = shell.run("models", "fit", "hf.co/org/Odd-GGUF", "--cache-type-v", "q8_0")
    assert ran.returncode == 1
    assert "options.cache_type_v cannot be q8_0 for this model: its heads of 80 values" in ran.stderr


def test_leave_for_an_address_can_be_given_as_with_a_pull(shell: Shell) -> None:
    with HubServer() as hub:
        address = hub.file("/files/ada.gguf", model(ADA).read_bytes())
        refused = shell.run("models", "fit", address)
        half = shell.run("models", "fit", address, "--insecure")
        whole = shell.run("models", "fit", address, "--insecure", "--private", "--json")
        elsewhere = shell.run("models", "fit", address, "--private", "--server", "http://127.0.0.1:1")
    assert refused.returncode == half.returncode == 1
    assert "--insecure" in refused.stderr and "--private" in half.stderr
    assert json.loads(whole.stdout)["architecture"] == "llama", whole.stderr
    assert elsewhere.returncode == 2 and "goes by its config" in elsewhere.stderr


def test_a_reference_that_is_none_is_a_sentence(shell: Shell) -> None:
    ran = shell.run("models", "fit", "hf.co/only-one-part")
    assert ran.returncode == 2
    assert "is no repository of the hub" in ran.stderr


def store(hub: HubServer, folder: Path, **fields: Any) -> StoreSpec:
    return StoreSpec(str(folder), endpoint=hub.endpoint, trusted=frozenset(hub.trusted), **fields)


async def fitted(running: Running, model: str, **options: Any) -> dict[str, Any]:
    answer = await running.http.post("/api/corral/fit", json={"model": model, "options": options})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def needs(found: dict[str, Any]) -> int:
    return int(device(found["asked"], "ram")["needs_bytes"])


async def test_by_every_kind_of_reference_before_and_after_it_is_here(tmp_path: Path) -> None:
    """What the headers elsewhere say is what the file here says, and once it is here nobody is asked."""
    whole = architecture("qwen3moe")
    with HubServer() as hub:
        hub.repo("org/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": whole.read_bytes(), "Tiny-Q8_0.gguf": 2 * whole.read_bytes()})
        hub.model("tiny", {"model": whole.read_bytes(), "license": b"MIT"})
        address = hub.file("/files/tiny.gguf", whole.read_bytes())
        references = ["hf.co/org/Tiny-GGUF:Q4_K_M", f"ollama:{hub.host}/library/tiny", f"{address}?token=1"]
        models = {
            f"m{number}": ModelSpec("", Source(reference=each), options={"ctx_size": 4096, "parallel": 2})
            for number, each in enumerate(references)
        }
        spec = store(hub, tmp_path)
        async with corral(models, store=spec) as running:
            by_path = needs(await fitted(running, str(whole), ctx_size=4096, parallel=2))
            for number, reference in enumerate(references):
                before = await fitted(running, f"m{number}")
                assert (before["model"], before["architecture"]) == (f"m{number}", "qwen3moe")
                assert before["asked"]["context_tokens"] == 4096
                assert needs(before) == by_path, "what is asked for is the Model's, wherever its file is"
                assert needs(await fitted(running, reference, ctx_size=4096, parallel=2)) == by_path
                assert list(tmp_path.rglob("*.gguf")) == []
            fetches = StoreFetches(spec, {})
            for reference in references:
                fetches.fetch(fetches.plan(parse(reference)))
            asked = len(hub.asked)
            for number in range(len(references)):
                assert needs(await fitted(running, f"m{number}")) == by_path
            assert len(hub.asked) == asked, "a Model that is here asks nobody"
            for reference in references:
                found = await fitted(running, reference, ctx_size=4096, parallel=2)
                assert needs(found) == by_path
                offered = [each["quantisation"] for each in found["quantisations"]]
                assert offered == (["Q4_K_M", "Q8_0"] if reference.startswith("hf.co") else [])
            assert [each.path for each in hub.asked[asked:] if "/api/models/" not in each.path] == [], "a list alone"
        async with corral(models, store=store(hub, tmp_path, offline=True)) as running:
            assert needs(await fitted(running, "m0")) == by_path
            refused = await running.http.post("/api/corral/fit", json={"model": "hf.co/org/other:Q8_0"})
            assert "offline" in refused.json()["error"]["message"]


async def test_what_goes_with_a_model_elsewhere_counts(tmp_path: Path) -> None:
    """A draft model that is here, and a projector that would come along, or not."""
    whole, eyes = architecture("llama"), projector().read_bytes()
    with HubServer() as hub:
        hub.repo("org/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": whole.read_bytes(), "mmproj-F16.gguf": eyes})
        reference, options = "hf.co/org/Tiny-GGUF", {"ctx_size": 4096, "parallel": 1, "n_gpu_layers": 0}
        draft = {"model_draft": str(architecture("qwen3"))}
        models = {
            "plain": ModelSpec("", Source(reference=reference, pictures=False), options=options),
            "sees": ModelSpec("", Source(reference=reference), options=options),
            "drafts": ModelSpec("", Source(reference=reference, pictures=False), options={**options, **draft}),
            "here": ModelSpec("", Source(str(whole)), options={**options, **draft}),
        }
        async with corral(models, store=store(hub, tmp_path)) as running:
            found = {name: needs(await fitted(running, name)) for name in models}
        assert found["sees"] == found["plain"] + len(eyes)
        assert found["plain"] < found["drafts"] == found["here"]


async def test_a_projector_that_was_left_out_is_asked_for_and_said_to_be_missing(tmp_path: Path) -> None:
    """The hub knows its size; where nobody can be asked, all the rest is counted."""
    whole, eyes = architecture("llama"), projector().read_bytes()
    reference, options = "hf.co/org/Tiny-GGUF", {"ctx_size": 4096, "parallel": 1, "n_gpu_layers": 0}
    models = {
        "plain": ModelSpec("", Source(reference=reference, pictures=False), options=options),
        "sees": ModelSpec("", Source(reference=reference), options=options),
    }
    with HubServer() as hub:
        hub.repo("org/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": whole.read_bytes(), "mmproj-F16.gguf": eyes})
        spec = store(hub, tmp_path)
        fetches = StoreFetches(spec, {})
        fetches.fetch(fetches.plan(parse(reference)).without_projector())
        async with corral(models, store=spec) as running:
            plain, sees = await fitted(running, "plain"), await fitted(running, "sees")
            assert (needs(sees), sees["notes"]) == (needs(plain) + len(eyes), [])
    for blind in (spec, store(hub, tmp_path, offline=True)):  # the hub is gone; nobody is asked at all
        async with corral(models, store=blind) as running:
            sees = await fitted(running, "sees")
            assert (needs(sees), (await fitted(running, "plain"))["notes"]) == (needs(plain), [])
            (note,) = sees["notes"]
            assert note.startswith("Its projector is not here and not counted, and nobody can be asked for its size: ")
            named = await fitted(running, reference, **options)
            assert (needs(named), len(named["notes"])) == (needs(plain), 1)


async def test_the_adapter_of_a_model_of_ollamas_counts(tmp_path: Path) -> None:
    """Before it is here by the size of its file, then by its tensors."""
    whole, adapter = architecture("llama").read_bytes(), lora().read_bytes()
    with HubServer() as hub:
        options = {"ctx_size": 4096, "parallel": 1, "n_gpu_layers": 0}
        models = {}
        for name, layers in {"plain": {}, "tuned": {"adapter": adapter}}.items():
            hub.model(name, {"model": whole, **layers})
            models[name] = ModelSpec("", Source(reference=f"ollama:{hub.host}/library/{name}"), options=options)
        spec = store(hub, tmp_path)
        async with corral(models, store=spec) as running:
            assert needs(await fitted(running, "tuned")) == needs(await fitted(running, "plain")) + len(adapter)
        fetches = StoreFetches(spec, {})
        for model in models.values():
            fetches.fetch(fetches.plan(parse(model.source.reference)))
        async with corral(models, store=spec) as running:
            more = needs(await fitted(running, "tuned")) - needs(await fitted(running, "plain"))
            assert 0 < more <= len(adapter)


def test_the_command_needs_no_network_for_what_is_in_the_store(shell: Shell) -> None:
    with HubServer() as hub:
        hub.repo("org/Tiny-GGUF", {"Tiny-Q4_K_M.gguf": architecture("llama").read_bytes()})
        settings: dict[str, Any] = {
            "store": {"endpoint": hub.endpoint, "trusted": [*hub.trusted]},
            "models": {"mine": {"source": "hf.co/org/Tiny-GGUF", "options": {"ctx_size": 4096}}},
        }
        file = shell.home / "corral.yaml"
        file.write_text(json.dumps(settings))
        before = shell.run("models", "fit", "mine", "--json")
        assert before.returncode == 0, before.stderr
        assert shell.run("models", "pull", "hf.co/org/Tiny-GGUF").returncode == 0
    file.write_text(json.dumps({**settings, "store": {"offline": True}}))
    after = shell.run("models", "fit", "mine", "--json")
    assert after.returncode == 0, after.stderr
    assert (
        json.loads(after.stdout)["asked"]["devices"][0]["weights_bytes"]
        == (json.loads(before.stdout)["asked"]["devices"][0]["weights_bytes"])
    )
    for words in (("fit", "hf.co/org/Tiny-GGUF"), ("inspect", "hf.co/org/Tiny-GGUF"), ("inspect", "mine")):
        ran = shell.run("models", *words)
        assert (ran.returncode, "llama" in ran.stdout) == (0, True), (words, ran.stderr)
    assert "apache-2.0" in ran.stdout
