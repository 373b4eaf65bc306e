"""`store.serve`: what is in the store is served beside what the file says, which goes before."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from corral.config.files import read_file
from corral.config.load import Loaded, load_document
from corral.domain.fleet import ModelSpec, Source
from corral.domain.storage import StoredModel, StoreSpec
from tests.unit.config.conftest import Loader

ADA = StoredModel("ada", "/store/import/ada.gguf", ("import/ada",))
EYE = StoredModel("eye", "/store/import/eye/eye.gguf", ("import/eye/eye",), "/store/import/eye/mmproj.gguf")


def load(
    config: Loader, text: str, found: Sequence[StoredModel], used: list[ModelSpec] | None = None
) -> tuple[Loaded, list[str]]:
    used = [] if used is None else used
    config("")
    with open(config.file, "w") as file:
        file.write(text)
    asked: list[str] = []

    def stored(spec: StoreSpec, models: Collection[ModelSpec]) -> Sequence[StoredModel]:
        asked.append(spec.path)
        used.extend(models)
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
    assert loaded.settings.warnings == (
        "/store/import/ada.gguf is not 'ada', which is a Model of the config: it is served as 'import/ada'.",
        "/store/import/eye/eye.gguf is not 'eye', which is a Model of the config: it is served as 'import/eye/eye'.",
    )
    taken = "store: {serve: true}\nmodels: {a: {source: /x.gguf, aliases: [ada, import/ada]}}"
    loaded, _ = load(config, taken, [ADA])
    assert set(loaded.settings.fleet.models) == {"a"}
    assert loaded.settings.warnings == (
        "/store/import/ada.gguf is not 'ada', which is a Model of the config: it is not served.",
    )
    free = load(config, "store: {serve: true}\nmodels: {a: {source: /x.gguf, aliases: [import/ada]}}", [ADA])[0]
    assert (free.settings.fleet.models["ada"].aliases, free.settings.warnings) == ((), ())


def test_groups_and_defaults_may_name_what_is_in_the_store(config: Loader) -> None:
    text = "store: {serve: true}\nserver: {default_model: eye}\ngroups: {g: {members: [ada, eye]}}"
    loaded, _ = load(config, text, [ADA, EYE])
    assert loaded.settings.fleet.groups["g"].members == ("ada", "eye")


def test_the_store_is_told_what_the_models_of_the_config_use(config: Loader) -> None:
    used: list[ModelSpec] = []
    text = "store: {serve: true, path: disk}\nmodels: {a: {source: x.gguf}, b: {source: hf.co/o/r:Q8_0}}"
    load(config, text, [ADA], used)
    assert [each.name for each in used] == ["a", "b"]
    assert used[0].source == Source(str(config.folder / "x.gguf"))
    assert used[1].source == Source(reference="hf.co/o/r:Q8_0")


def test_nothing_in_a_name_of_a_file_is_expanded(config: Loader) -> None:
    odd = StoredModel("odd", "/store/${env.HOME}/{model}{{x}}~.gguf")
    assert load(config, "store: {serve: true}", [odd])[0].settings.fleet.models["odd"].source.path == odd.path


def test_adapters_that_are_a_part_of_it_come_along(config: Loader) -> None:
    tuned = StoredModel("tuned", "/store/t.gguf", adapters=("/store/a.gguf", "/store/{model}{{x}}.gguf"))
    models = load(config, "store: {serve: true}", [tuned])[0].settings.fleet.models
    assert models["tuned"].options["lora"] == tuned.adapters


def test_what_ollamas_clients_pulled_it_by_is_how_they_see_it(config: Loader) -> None:
    tiny = StoredModel("tiny", "/store/t.gguf", ("x/t", "me/tiny:v1"), "", "me/tiny:v1")
    taken = StoredModel("other", "/store/o.gguf", ("hf.co/o/r",), "", "hf.co/o/r")
    text = "store: {serve: true}\nmodels: {mine: {source: /m.gguf, aliases: [hf.co/o/r]}}"
    models = load(config, text, [tiny, taken])[0].settings.fleet.models
    assert {name: model.pulled for name, model in models.items()} == {"mine": "", "tiny": "me/tiny:v1", "other": ""}


def test_a_model_that_serves_such_a_file_gets_its_names(config: Loader) -> None:
    used = StoredModel("r", "/m.gguf", ("hf.co/o/r:Q8_0", "hf.co/o/r"), model="mine")
    given = "{mine: {source: /m.gguf, aliases: [a]}, b: {source: /b.gguf, aliases: [hf.co/o/r]}}"
    text = f"store: {{serve: true}}\nmodels: {given}"
    models = load(config, text, [used])[0].settings.fleet.models
    assert set(models) == {"mine", "b"}
    assert (models["mine"].aliases, models["mine"].pulled) == (("a", "hf.co/o/r:Q8_0"), "")
    assert models["b"].aliases == ("hf.co/o/r",)
