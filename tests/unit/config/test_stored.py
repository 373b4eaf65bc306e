"""`store.serve`: what is in the store is served beside what the file says, which goes before."""

from __future__ import annotations

import os
from collections.abc import Sequence

from corral.config.files import read_file
from corral.config.load import Loaded, load_document
from corral.domain.storage import StoredModel
from tests.unit.config.conftest import Loader

ADA = StoredModel("ada", "/store/import/ada.gguf", ("import/ada",))
EYE = StoredModel("eye", "/store/import/eye/eye.gguf", ("import/eye/eye",), "/store/import/eye/mmproj.gguf")


def load(config: Loader, text: str, found: Sequence[StoredModel]) -> tuple[Loaded, list[str]]:
    config("")
    with open(config.file, "w") as file:
        file.write(text)
    asked: list[str] = []

    def stored(path: str) -> Sequence[StoredModel]:
        asked.append(path)
        return found

    loaded = load_document(
        read_file(config.file), engines=config.engines, env={"HOME": "/h"}, cwd=str(config.folder), stored=stored
    )
    return loaded, asked


def test_it_is_off_unless_it_is_said(config: Loader) -> None:
    loaded, asked = load(config, "", [ADA])
    assert (dict(loaded.settings.fleet.models), asked) == ({}, [])


def test_models_of_the_store_have_the_defaults(config: Loader) -> None:
    text = "store: {serve: true, path: disk}\ndefaults: {ttl: 5m, options: {llamacpp: {ctx_size: 4096}}}"
    loaded, asked = load(config, text, [ADA, EYE])
    models = loaded.settings.fleet.models
    assert asked == [str(config.folder / "disk")] and loaded.settings.store.serve
    assert (models["ada"].source.path, models["ada"].aliases, models["ada"].ttl_s) == (ADA.path, ("import/ada",), 300)
    assert models["ada"].options == {"ctx_size": 4096}
    assert models["eye"].options == {"ctx_size": 4096, "mmproj": EYE.projector}


def test_another_default_engine_does_not_get_gguf_files(config: Loader) -> None:
    loaded, _ = load(config, "store: {serve: true}\ndefaults: {engine: other}", [ADA])
    assert loaded.settings.fleet.models["ada"].engine == "llamacpp"


def test_names_of_the_file_go_before(config: Loader) -> None:
    text = "store: {serve: true}\nmodels: {ada: {source: /x.gguf}, big: {source: /y.gguf, aliases: [eye]}}"
    loaded, _ = load(config, text, [ADA, EYE])
    models = loaded.settings.fleet.models
    assert set(models) == {"ada", "big", "import/ada", "import/eye/eye"}
    assert models["ada"].source.path == "/x.gguf" and models["import/ada"].source.path == ADA.path
    taken = "store: {serve: true}\nmodels: {a: {source: /x.gguf, aliases: [ada, import/ada]}}"
    assert set(load(config, taken, [ADA])[0].settings.fleet.models) == {"a"}


def test_a_file_that_a_model_of_the_config_serves_is_not_served_twice(config: Loader) -> None:
    os.makedirs(config.folder / "store")
    path = config.folder / "store/a.gguf"
    path.write_bytes(b"")
    (config.folder / "link.gguf").symlink_to(path)
    text = "store: {serve: true}\nmodels: {mine: {source: link.gguf}}"
    loaded, _ = load(config, text, [StoredModel("a", str(path))])
    assert set(loaded.settings.fleet.models) == {"mine"}


def test_nothing_in_a_name_of_a_file_is_expanded(config: Loader) -> None:
    odd = StoredModel("odd", "/store/${env.HOME}/{model}{{x}}~.gguf")
    assert load(config, "store: {serve: true}", [odd])[0].settings.fleet.models["odd"].source.path == odd.path
