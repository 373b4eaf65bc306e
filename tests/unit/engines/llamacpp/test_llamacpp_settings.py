"""settings: options checked against each other, arguments that are options, flags that are not the operator's."""

from __future__ import annotations

from typing import Any

import pytest

from corral.domain.fleet import ModelSpec, OptionValue, Source
from corral.engines.llamacpp.options import OPTIONS
from corral.engines.llamacpp.settings import settings_of


def problems(
    options: dict[str, Any] | None = None, *args: tuple[str, Any], env: tuple[tuple[str, str], ...] = ()
) -> str:
    model = ModelSpec("m", Source("/m.gguf"), options=options or {}, args=args, env=env)
    return "\n".join(settings_of(model).problems)


def test_nothing_is_wrong_with_nothing() -> None:
    assert problems() == ""
    assert settings_of(ModelSpec("m")).slots == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, ("cache_type_v q8_0", "flash attention")),
        ({"batch_size": 64, "ubatch_size": 128}, ("ubatch_size (128)", "batch_size (64)")),
        ({"ctx_size": 512, "parallel": 16, "kv_unified": False}, ("512", "16 slots", "32 tokens")),
        ({"embeddings": True, "rerank": True}, ("exclude each other",)),
        ({"rerank": True, "pooling": "mean"}, ("rank, not mean",)),
        ({"pooling": "mean"}, ("only for embeddings",)),
        ({"embeddings": True, "pooling": "rank"}, ("rerank instead",)),
        ({"chat_template": "chatml", "chat_template_file": "/t"}, ("exclude each other",)),
        ({"chat_template_file": "/t", "jinja": False}, ("needs jinja",)),
        ({"chat_template_kwargs": "[1]"}, ("JSON object",)),
        ({"chat_template_kwargs": "{"}, ("JSON object",)),
        ({"mlock": True, "load_mode": "mmap"}, ("load_mode says the same",)),
        ({"mmproj_offload": False}, ("only with mmproj",)),
        ({"mmproj": "/p", "image_min_tokens": 9, "image_max_tokens": 3}, ("9", "larger")),
        ({"model_draft": "/d", "draft_min": 9, "draft_max": 3}, ("9", "larger")),
        ({"keep": 512, "ctx_size": 512}, ("keep (512)",)),
        ({"embeddings": True, "context_shift": True}, ("context_shift",)),
        ({"lora": ("/a", "b.gguf")}, ("lora: b.gguf", "whole path")),
        ({"mmproj": "~/p.gguf"}, ("mmproj: ~/p.gguf", "whole path")),
        ({"parallel": 0}, ("parallel must be a whole number of slots from 1 to 256",)),
        ({"n_gpu_layers": "some"}, ("auto or all",)),
        ({"flash_attn": "maybe"}, ("on, off, auto",)),
        ({"ctx_sise": 1}, ("ctx_sise is not an option",)),
    ],
)
def test_what_cannot_be_is_a_sentence(options: dict[str, Any], words: tuple[str, ...]) -> None:
    text = problems(options)
    assert text.count("\n") == 0 and text.endswith(".")
    for word in words:
        assert word in text


def test_options_of_a_projector_wait_for_the_files_that_it_may_come_with() -> None:
    """And are judged when they are here."""
    wanted = {"mmproj_offload": False, "image_min_tokens": 64}

    def judged(source: Source) -> int:
        return len(settings_of(ModelSpec("m", source, options=wanted)).problems)

    reference = "hf.co/o/r"
    assert judged(Source(reference=reference)) == 0
    assert judged(Source(reference=reference, pictures=False)) == 2, "the operator wants none"
    assert judged(Source("/m.gguf", reference)) == 2, "none has come"
    assert judged(Source("/m.gguf", reference, projector="/p.gguf")) == 0
    assert judged(Source(reference=reference)) == 0


def test_adapters_that_came_along_are_loaded_unless_the_operator_names_others() -> None:
    came = Source("/m.gguf", "ollama:tiny", adapters=("/a.gguf", "/b.gguf"))

    def chosen(**options: OptionValue) -> dict[str, OptionValue]:
        found = settings_of(ModelSpec("m", came, options=options)).chosen
        return {name: value for name, value in found.items() if name.startswith("lora")}

    assert chosen() == {"lora": ("/a.gguf", "/b.gguf")}
    assert chosen(lora=("/c.gguf",)) == {"lora": ("/c.gguf",)}
    assert chosen(lora_scaled=("/a.gguf:0.5",)) == {"lora_scaled": ("/a.gguf:0.5",)}
    assert "lora" not in settings_of(ModelSpec("m", Source("/m.gguf", "ollama:tiny"))).chosen


@pytest.mark.parametrize(
    "options",
    [
        {"cache_type_v": "q8_0"},  # auto turns flash attention on
        {"cache_type_k": "q8_0", "flash_attn": "off"},
        {"ctx_size": 512, "parallel": 16},  # one cache for all
        {"ctx_size": 0, "kv_unified": False, "parallel": 16},
        {"mlock": True, "mmap": False},
        {"rerank": True, "pooling": "rank"},
        {"flash_attn": True},  # YAML's bare `on`
        {"temperature": 0, "n_gpu_layers": 0},
    ],
)
def test_what_can_be_is_left_alone(options: dict[str, Any]) -> None:
    assert problems(options) == ""


@pytest.mark.parametrize(
    ("arg", "option", "value"),
    [
        (("ngl", 99), "n_gpu_layers", 99),
        (("n_gpu_layers", "all"), "n_gpu_layers", "all"),
        (("--ctx-size", 4096), "ctx_size", 4096),
        (("c", 4096), "ctx_size", 4096),
        (("temp", 0), "temperature", 0.0),
        (("no_mmap", True), "mmap", False),
        (("mlock", True), "mlock", True),
        (("flash_attn", True), "flash_attn", "on"),
        (("fa", "off"), "flash_attn", "off"),
        (("nkvo", True), "kv_offload", False),
        (("tensor_split", (3, 1)), "tensor_split", ("3", "1")),
        (("tensor_split", "3,1"), "tensor_split", ("3,1",)),
        (("reranking", True), "rerank", True),
        (("fit", "off"), "fit", "off"),
        (("cms", 5), "checkpoint_min_step", 5),
        (("nocb", True), "cont_batching", False),
        (("lv", 3), "verbosity", 3),
        (("cram", "2GiB"), "cache_ram", 2048),
        (("to", 7), "timeout", 7),
    ],
)
def test_an_argument_that_is_an_option_becomes_it(arg: tuple[str, Any], option: str, value: object) -> None:
    settings = settings_of(ModelSpec("m", args=(arg,)))
    assert settings.problems == ()
    assert settings.chosen == {option: value} and settings.args == ()


def test_slots_are_seen_however_they_are_written() -> None:
    assert settings_of(ModelSpec("m", args=(("np", 2),))).slots == 2
    assert settings_of(ModelSpec("m", options={"parallel": 3})).slots == 3


def test_false_omits_an_argument() -> None:
    settings = settings_of(ModelSpec("m", args=(("jinja", False), ("verbose", False), ("no_mmap", False))))
    assert settings.chosen == {} and settings.args == () and settings.problems == ()


def test_an_option_set_twice_is_a_problem() -> None:
    assert "args.c and options.ctx_size" in problems({"ctx_size": 1024}, ("c", 512))


@pytest.mark.parametrize(
    "key",
    ["host", "port", "--port", "port=9", "--port=9", "model", "m", "-m", "hf_repo", "hf-repo", "alias", "a", "api_key",
     "api-key-file", "ssl_key_file", "tools", "agent", "cors_origins", "models_dir", "no_slots", "metrics", "offline",
     "mmproj_url", "version", "props", "log_file", "log_jsonl", "escape"],
)  # fmt: skip
def test_flags_that_corral_owns_are_refused_however_they_are_spelled(key: str) -> None:
    text = problems(None, (key, True))
    assert f"args.{key} is not yours to set" in text
    assert len(text) > len(key) + 30  # and it says why


def test_one_fault_is_one_sentence() -> None:
    """What is not theirs to set may also have a placeholder that is for other engines."""
    assert problems(None, ("port", "{port}")).count("args.port") == 1
    assert problems(env=(("LLAMA_ARG_PORT", "{port}"),)).count("LLAMA_ARG_PORT") == 1
    assert "args.slot has {port}" in problems(None, ("slot", "{port}"))


@pytest.mark.parametrize("key", ["ctx_size=4", "two words", "--", ""])
def test_a_key_that_is_not_a_flag_is_refused(key: str) -> None:
    assert problems(None, (key, 1)).startswith("args")


@pytest.mark.parametrize(
    "name", ["LLAMA_API_KEY", "LLAMA_ARG_HOST", "LLAMA_ARG_CTX_SIZE", "AIP_HTTP_PORT", "XDG_CONFIG_HOME"]
)
def test_hidden_ways_in_are_closed(name: str) -> None:
    assert f"env.{name}" in problems(env=((name, "1"),))
    assert problems(env=(("HIP_VISIBLE_DEVICES", "-1"), ("CUDA_VISIBLE_DEVICES", "0"))) == ""


def test_every_option_says_what_it_is() -> None:
    names = [spec.name for spec in OPTIONS]
    assert len(names) == len(set(names))
    for spec in OPTIONS:
        assert spec.help.endswith(".") and len(spec.help) > 8, spec.name
        if spec.default is not None:
            assert spec.check(spec.default) == spec.default


def test_an_address_is_not_given_by_placeholders() -> None:
    told = "Corral gives llama-server its address itself"
    assert "args.tags has {port}" in problems({}, ("tags", ("x", "a:{port}"))) and told in problems(
        {}, ("tags", "{port}")
    )
    assert "env.WHERE has {socket}" in problems(env=(("WHERE", "unix:{socket}"),))
    assert problems(env=(("WHERE", "{host}"),)) == ""
