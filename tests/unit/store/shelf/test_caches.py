"""What other programs have fetched is found in each of their layouts, and nothing there is believed that leads away."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from corral.contracts.fetching import Role
from corral.domain.references import HubReference, OllamaReference, parse
from corral.store.known import KnownFiles
from corral.store.shelf.caches.finding import Caches
from corral.store.shelf.elsewhere import items_of
from corral.store.shelf.serving import as_stored
from corral.store.sources.cached import local_path, plan_of_caches
from tests.models import ADA, BEN, EMBED, model
from tests.second_files import lora
from tests.unit.store.shelf import kit


def caches(home: Path, **env: str) -> Caches:
    return Caches({"HOME": str(home), **env})


def by_hash(found: Caches, source: Path, *, more: int = 0) -> Path | None:
    return found.found(kit.sha256(source), source.stat().st_size + more)


def meant(found: Caches, text: str) -> Path | None:
    """The file to hand to an engine, of the model that a reference means."""
    plan = plan_of_caches(found, parse(text))
    return local_path(plan.files[0]) if plan is not None else None


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (status.st_size, status.st_mtime_ns)
        for path in folder.rglob("*")
        for status in (path.lstat(),)
    }  # fmt: skip


def test_a_machine_without_other_programs_has_nothing(tmp_path: Path) -> None:
    assert caches(tmp_path).all() == []
    assert caches(tmp_path).found("ab" * 32, 1) is None


def test_the_hubs_cache(tmp_path: Path) -> None:
    path = kit.hub(tmp_path / ".cache/huggingface/hub", "org/My--Repo-GGUF", "q/ada-Q4_K_M.gguf", model(ADA))
    (each,) = caches(tmp_path).all()
    assert (each.path, each.place, each.sha256) == (path, "Hugging Face", kit.sha256(model(ADA)))
    assert each.reference == HubReference("org/My--Repo-GGUF", file="q/ada-Q4_K_M.gguf")
    assert by_hash(caches(tmp_path), model(ADA)) == path
    assert by_hash(caches(tmp_path), model(ADA), more=1) is None
    for wanted in (
        "hf.co/org/My--Repo-GGUF",
        "hf.co/org/My--Repo-GGUF/q/ada-Q4_K_M.gguf",
        "hf.co/ORG/my--repo-gguf:q4-k-m",
        f"hf.co/org/My--Repo-GGUF@{kit.COMMIT}:Q4_K_M",
    ):
        assert meant(caches(tmp_path), wanted) == path, wanted
    for other in ("hf.co/org/My--Repo-GGUF:Q4_K", "hf.co/org/My--Repo-GGUF@dev:Q4_K_M", "hf.co/org/Other:Q4_K_M"):
        assert meant(caches(tmp_path), other) is None


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub"),
     ("LLAMA_CACHE", "")],
)  # fmt: skip
def test_the_hubs_cache_is_where_its_variables_say(tmp_path: Path, variable: str, below: str) -> None:
    path = kit.hub(tmp_path / "there" / below, "org/R", "a.gguf", model(ADA))
    found = caches(tmp_path / "home", **{variable: str(tmp_path / "there")}).all()
    assert [each.path for each in found] == [path]


def test_a_revision_of_the_hubs_cache_is_told_from_main(tmp_path: Path) -> None:
    root = tmp_path / ".cache/huggingface/hub"
    old = kit.hub(root, "org/R", "a.gguf", model(ADA), revision="v1", commit="b" * 40)
    new = kit.hub(root, "org/R", "a.gguf", model(BEN))
    assert meant(caches(tmp_path), "hf.co/org/R@v1/a.gguf") == old
    assert meant(caches(tmp_path), "hf.co/org/R/a.gguf") == new
    (root / "models--org--R/refs/v2").write_text(kit.COMMIT)
    assert meant(caches(tmp_path), "hf.co/org/R@v2/a.gguf") == new == meant(caches(tmp_path), "hf.co/org/R/a.gguf")


def test_llama_cpps_old_folder(tmp_path: Path) -> None:
    root = tmp_path / ".cache/llama.cpp"
    told = kit.flat(root, "org/R-GGUF", "sub/ada-Q8_0.gguf", model(ADA), tag="Q8_0=odd")
    plain = kit.flat(root, "org/R-GGUF", "ben-Q4_0.gguf", model(BEN))
    addressed = kit.put(root / "x.gguf", model(BEN))
    (root / "x.gguf.json").write_text(json.dumps({"url": "https://host.example/m/x.gguf", "etag": '"1"'}))
    coming = kit.put(root / "org_R-GGUF_c.gguf", model(BEN))
    coming.with_name(f"{coming.name}.downloadInProgress").touch()
    assert {each.path for each in caches(tmp_path).all()} == {told, plain, addressed}
    there = caches(tmp_path)
    assert by_hash(there, model(ADA)) == told
    assert meant(there, "hf.co/org/R-GGUF/sub/ada-Q8_0.gguf") == told
    assert meant(there, "hf.co/org/R-GGUF:Q8_0") == told
    assert meant(there, "hf.co/org/R-GGUF/ben-Q4_0.gguf") == plain
    assert meant(there, "hf.co/org/R-GGUF:Q4_0") is None, "the same name may be of org/R and GGUF_ben-Q4_0.gguf"
    assert meant(there, "https://host.example/m/x.gguf") == addressed
    assert meant(there, "https://host.example/m/x.gguf?version=2") is None
    assert meant(there, "hf.co/org/R-GGUF/c.gguf") is None


def test_ollamas_folder(tmp_path: Path) -> None:
    weights, projector = kit.ollama(
        tmp_path / ".ollama/models", "library/tiny/1b", [("model", model(ADA)), ("projector", model(BEN))]
    )
    found = {each.role: each for each in caches(tmp_path).all()}
    assert found[Role.MODEL].path == weights and found[Role.PROJECTOR].path == projector
    assert found[Role.MODEL].reference == OllamaReference("tiny", "1b")
    assert meant(caches(tmp_path), "ollama:tiny:1b") == weights
    assert by_hash(caches(tmp_path), model(BEN)) == projector
    assert meant(caches(tmp_path), "ollama:tiny") is None
    elsewhere = caches(tmp_path / "none", OLLAMA_MODELS=str(tmp_path / ".ollama/models"))
    assert meant(elsewhere, "ollama:tiny:1b") == weights
    projector.unlink()
    assert meant(elsewhere, "ollama:tiny:1b") is None, "not all of it is there"


def test_a_layer_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    (weights,) = kit.ollama(tmp_path / ".ollama/models", "library/tiny/latest", [("model", model(ADA))])
    weights.write_bytes(weights.read_bytes()[:-1])
    assert caches(tmp_path).all() == []


def test_a_service_of_the_system_has_its_models_elsewhere(tmp_path: Path) -> None:
    folders = {str(path) for path, _ in caches(tmp_path).folders()}
    assert {"/usr/share/ollama/.ollama/models", "/var/lib/ollama/.ollama/models"} <= folders


def test_lm_studios_folder(tmp_path: Path) -> None:
    path = kit.put(tmp_path / ".lmstudio/models/org/R-GGUF/a-Q4_K_M.gguf", model(ADA))
    chosen = kit.put(tmp_path / "disk/org/S-GGUF/b.gguf", model(BEN))
    (tmp_path / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path / "disk")}))
    assert {each.path for each in caches(tmp_path).all()} == {path, chosen}
    assert meant(caches(tmp_path), "hf.co/org/R-GGUF:Q4_K_M") == path


def test_lm_studios_home_is_where_it_says(tmp_path: Path) -> None:
    """`findLMStudioHome` of lmstudio-js: a variable, then a file that names it."""
    noted = kit.put(tmp_path / "noted/models/org/R-GGUF/a.gguf", model(ADA))
    named = kit.put(tmp_path / "named/models/org/R-GGUF/b.gguf", model(BEN))
    pointer = tmp_path / ".lmstudio-home-pointer"
    pointer.write_text(f"{tmp_path / 'noted'}\n")
    assert {each.path for each in caches(tmp_path).all()} == {noted}
    assert {each.path for each in caches(tmp_path, LMSTUDIO_HOME=str(tmp_path / "named")).all()} == {noted, named}
    for text in ("", "relative", "/no\x00where", "\udcff", "x" * 10_000):
        pointer.write_bytes(text.encode("utf-8", "surrogateescape"))
        assert caches(tmp_path).all() == []


def test_a_split_model_is_found_whole_or_not_at_all(tmp_path: Path) -> None:
    root = tmp_path / ".lmstudio/models/org/R"
    paths = [kit.put(root / f"s-Q4_0-0000{n}-of-00003.gguf", part) for n, part in enumerate(kit.parts_of_split(), 1)]
    plan = plan_of_caches(caches(tmp_path), parse("hf.co/org/R:Q4_0"))
    assert plan is not None and [local_path(each) for each in plan.files] == paths
    (item,) = items_of(caches(tmp_path).all(), KnownFiles())
    assert (item.paths, item.problem) == (tuple(paths), "")
    paths[2].unlink()
    assert meant(caches(tmp_path), "hf.co/org/R:Q4_0") is None
    (item,) = items_of(caches(tmp_path).all(), KnownFiles())
    assert item.problem == "1 of its 3 parts is not there."


def test_links_that_lead_out_of_a_cache_are_passed_over(tmp_path: Path) -> None:
    secret = kit.put(tmp_path / "secret.gguf", model(ADA))
    root = tmp_path / ".cache/huggingface/hub"
    path = kit.hub(root, "org/R", "a.gguf", model(BEN))
    path.unlink()
    path.symlink_to(secret)
    (root / "models--org--R/snapshots" / kit.COMMIT / "round.gguf").symlink_to("round.gguf")
    blobs = tmp_path / ".ollama/models/blobs"
    (weights,) = kit.ollama(blobs.parent, "library/tiny/1b", [("model", model(ADA))])
    weights.unlink()
    weights.symlink_to(secret)
    studio = tmp_path / ".lmstudio/models/org/R"
    studio.mkdir(parents=True)
    (studio / "a.gguf").symlink_to(secret)
    os.mkfifo(studio / "pipe.gguf")
    assert caches(tmp_path).all() == []


@pytest.mark.parametrize(
    "layers",
    [
        None, {}, [1], [{"mediaType": "application/vnd.ollama.image.model"}],
        [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd", "size": 1}],
        [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "A" * 64, "size": 1}],
        [{"mediaType": ["a"], "digest": {"b": 1}, "size": None}],
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_passed_over(tmp_path: Path, layers: object) -> None:
    manifest = tmp_path / ".ollama/models/manifests/h/n/m/t"
    manifest.parent.mkdir(parents=True)
    for text in (json.dumps({"layers": layers}), json.dumps([layers]), "{", "[" * 100_000):
        manifest.write_text(text)
        assert caches(tmp_path).all() == []


def test_looking_changes_nothing(tmp_path: Path) -> None:
    kit.hub(tmp_path / ".cache/huggingface/hub", "org/R", "a.gguf", model(ADA))
    kit.flat(tmp_path / ".cache/llama.cpp", "org/R", "b.gguf", model(BEN), tag="latest")
    kit.ollama(tmp_path / ".ollama/models", "library/tiny/latest", [("model", model(ADA))])
    before = everything(tmp_path)
    items = items_of(caches(tmp_path).all(), KnownFiles())
    caches(tmp_path).found("ab" * 32, 1)
    meant(caches(tmp_path), "hf.co/org/R")
    assert everything(tmp_path) == before
    assert {(item.place, item.name) for item in items} == {
        ("Hugging Face", "a"), ("Ollama", "tiny"), ("llama.cpp", "b")
    }  # fmt: skip
    assert {item.title for item in items} == {"Ada", "Ben"}


def test_a_projector_is_that_of_the_model_it_came_with(tmp_path: Path) -> None:
    root = tmp_path / ".ollama/models"
    kit.ollama(root, "library/blind/latest", [("model", model(BEN))])
    _, projector = kit.ollama(root, "library/seeing/latest", [("model", model(ADA)), ("projector", model(EMBED))])
    found = {item.name: item.projector for item in items_of(caches(tmp_path).all(), KnownFiles()) if item.paths}
    assert found["seeing"] == projector
    assert found["blind"] is None


def test_the_parts_of_a_split_model_in_llama_cpps_old_folder(tmp_path: Path) -> None:
    root = tmp_path / ".cache/llama.cpp"
    names = [f"s-Q4_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    paths = [kit.flat(root, "org/R", name, part) for name, part in zip(names, kit.parts_of_split(), strict=True)]
    for wanted in ("hf.co/org/R:Q4_0", f"hf.co/org/R/{names[0]}"):
        kit.flat(root, "org/R", names[0], kit.parts_of_split()[0], tag="Q4_0" if ":" in wanted else "")
        plan = plan_of_caches(caches(tmp_path), parse(wanted))
        assert plan is not None and [local_path(each) for each in plan.files] == paths
        assert [each.path for each in plan.files] == [f"hf/org/R/{name}" for name in names]
    paths[1].unlink()
    assert meant(caches(tmp_path), "hf.co/org/R:Q4_0") is None


def test_a_model_of_ollamas_that_is_run_where_it_lies_has_its_adapter(tmp_path: Path) -> None:
    layers = [("model", model(ADA)), ("adapter", lora())]
    weights, adapter = kit.ollama(tmp_path / ".ollama/models", "library/tuned/latest", layers)
    (found,) = (each for each in items_of(caches(tmp_path).all(), KnownFiles()) if each.role is Role.MODEL)
    stored = as_stored(found, [])
    assert (stored.path, stored.adapters) == (str(weights), (str(adapter),))
