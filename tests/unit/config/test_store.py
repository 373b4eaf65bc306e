"""`store:` of the config: where files are kept, whom they may come from; tokens are shown to nobody."""

from __future__ import annotations

import pytest

from corral.config.explain import explain, shown_config
from corral.config.fields import is_secret
from corral.config.schema import Store
from corral.domain.storage import StoreSpec
from tests.unit.config.conftest import Loader


def test_by_default_it_lies_in_the_data_folder(config: Loader) -> None:
    assert config("").settings.store == StoreSpec("/home/user/.local/share/corral/models")
    assert config("", {"XDG_DATA_HOME": "/data"}).settings.store.path == "/data/corral/models"


def test_the_schema_has_the_defaults_of_the_domain() -> None:
    given = {name: getattr(Store(), name) for name in Store.model_fields}
    assert StoreSpec(**{**given, "trusted": frozenset(given["trusted"])}) == StoreSpec()


def test_all_of_it(config: Loader) -> None:
    settings = config(
        """
        store:
          path: models
          endpoint: http://mirror.lan:8000/hub/
          tokens: {HuggingFace.co: "${env.MY_HUB}", "registry.lan:5000": abc}
          trusted: [http://10.0.0.5:8000/, "https://[fd00::1]"]
          connections: 8
          auto_download: off
          offline: true
        """,
        {"MY_HUB": "hf_secret"},
    ).settings
    assert settings.store == StoreSpec(
        path=str(config.folder / "models"),
        endpoint="http://mirror.lan:8000/hub",
        tokens={"huggingface.co": "hf_secret", "registry.lan:5000": "abc"},
        trusted=frozenset({"http://10.0.0.5:8000", "https://[fd00::1]"}),
        connections=8,
        auto_download=False,
        offline=True,
    )
    assert settings.hidden_env == {"MY_HUB"}, "no engine gets the variable of a token"


def test_the_usual_ports_say_nothing(config: Loader) -> None:
    store = config(
        """
        store:
          tokens: {"HuggingFace.co:443": a, "mirror.lan:80": b, "other.lan:0443": c, "[::1]:8080": d}
          trusted: ["http://H.lan:80", "https://h.lan:443/", "http://h.lan:443", "https://[fd00::1]:443", "http://[fd00::80]"]
        """
    ).settings.store
    assert store.tokens == {"huggingface.co": "a", "mirror.lan": "b", "other.lan": "c", "[::1]:8080": "d"}
    assert store.trusted == {
        "http://h.lan", "https://h.lan", "http://h.lan:443", "https://[fd00::1]", "http://[fd00::80]",
    }  # fmt: skip


def test_tokens_are_not_shown(config: Loader) -> None:
    loaded = config("store: {tokens: {huggingface.co: hf_secret}}")
    assert shown_config(loaded.config)["store"]["tokens"] == {"huggingface.co": "(secret)"}
    assert explain(loaded, 'store.tokens."huggingface.co"', tables={}).value == "(secret)"
    assert is_secret(("store", "tokens", "huggingface.co"))
    assert "hf_secret" not in repr(loaded.settings) + repr(loaded.config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("endpoint: ftp://x", "must be an address such as https://hub.example.org"),
        ("endpoint: https://user:word@hub.lan", "must be an address"),
        ("trusted: [http://10.0.0.5/path]", "must be an origin such as http://10.0.0.5:8000"),
        ("trusted: [10.0.0.5]", "must be an origin"),
        ("tokens: {'https://hub.lan': x}", "cannot be a host"),
        ("trusted: ['http://h.lan:65536']", "cannot have port 65536"),
        ("tokens: {'hub.lan:0': x}", "cannot have port 0"),
        ("tokens: {hub.lan: 'a b'}", "must be a token"),
        ("connections: 0", "must be 1 or more"),
        ("folder: /x", "unknown key 'folder' in store."),
    ],
)
def test_what_cannot_be_is_told(config: Loader, text: str, said: str) -> None:
    assert said in config.problems(f"store: {{{text}}}")[0]


def test_a_wrong_token_is_not_told(config: Loader) -> None:
    assert "se cret" not in config.problems("store: {tokens: {hub.lan: 'se cret'}}")[0]


def test_by_the_environment(config: Loader) -> None:
    settings = config("", {"CORRAL_STORE__PATH": "/m", "CORRAL_STORE__TOKENS": "{hub.lan: abc}"}).settings
    assert (settings.store.path, settings.store.tokens) == ("/m", {"hub.lan": "abc"})


@pytest.mark.parametrize("key", ["ref", "url"])
@pytest.mark.parametrize("text", ["https://u:hunter2@h.example/dir/", "https://h.example:99999999/x?sig=hunter2"])
def test_a_mistake_in_a_reference_is_told_without_its_secrets(config: Loader, key: str, text: str) -> None:
    (said,) = config.problems(f"models: {{m: {{source: {{{key}: '{text}'}}}}}}")
    assert "h.example" in said and "hunter2" not in said


@pytest.mark.parametrize(
    "text", ["https://[1:2]/x.gguf", "https://evil\u2100.com/x.gguf", "https://a:99999/x.gguf", "ollama:h:0/me/x"]
)
def test_an_address_that_leads_nowhere_is_told_before_anything_is_served(config: Loader, text: str) -> None:
    assert "leads nowhere" in config.problems(f"models: {{m: {{source: '{text}'}}}}")[0]
