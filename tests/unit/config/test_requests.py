"""Rules for requests, profiles and default Models: what the file says, and what it must not."""

from __future__ import annotations

from datetime import date

import pytest

from corral.config.problems import Problems
from corral.config.requests import request_rules
from corral.config.schema import RequestSection
from corral.domain.requests import DefaultModels, ProfileSpec, RequestRules
from tests.unit.config.conftest import Loader

TEXT = """
server:
  default_model: {chat: 'a:creative', embeddings: e}
  unknown_model: default
models:
  a:
    source: a.gguf
    request: {defaults: {temperature: 0, "n": 1}, strip: [logit_bias], set: {cache_prompt: "${env.CACHE}"}}
    profiles:
      creative:
        aliases: [poet]
        set: {temperature: 1.2, chat_template_kwargs: {enable_thinking: false, list: [1, null, x]}}
  e: {source: e.gguf, task: embeddings}
"""


def test_rules_profiles_and_defaults(config: Loader) -> None:
    fleet = config(TEXT, env={"CACHE": "true"}).settings.fleet
    a = fleet.models["a"]
    assert a.request == RequestRules({"temperature": 0, "n": 1}, ("logit_bias",), {"cache_prompt": True})
    kwargs = {"enable_thinking": False, "list": [1, None, "x"]}
    rules = RequestRules(set={"temperature": 1.2, "chat_template_kwargs": kwargs})
    assert a.profiles == (ProfileSpec("creative", rules, ("poet",)),)
    assert fleet.models["e"].request is None
    assert fleet.default_models == DefaultModels({"chat": "a:creative", "embeddings": "e"}, True)


def test_a_name_alone_is_the_default_for_chat(config: Loader) -> None:
    fleet = config("server: {default_model: a}\nmodels: {a: {source: x}}").settings.fleet
    assert fleet.default_models == DefaultModels({"chat": "a"})
    assert (fleet.default_models.of("completion"), fleet.default_models.of("embeddings")) == ("a", "")


@pytest.mark.parametrize("field", ["model", "messages", "stream", "prompt", "input"])
@pytest.mark.parametrize("part", ["defaults: {F: x}", "set: {F: x}", "strip: [F]"])
def test_no_rule_touches_what_a_request_is_about(config: Loader, field: str, part: str) -> None:
    text = f"models:\n  a:\n    source: x\n    request: {{{part.replace('F', field)}}}\n"
    (problem,) = config.problems(text)
    assert problem.startswith("corral.yaml:4:") and f"{field!r} is what a request is about" in problem


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("request: {defaults: {top_k: 1}, strip: [top_k]}", "a default for 'top_k' would never count: it is stripped"),
        ("request: {defaults: {top_k: 1}, set: {top_k: 2}}", "a default for 'top_k' would never count: it is set"),
        ("request: {sett: {x: 1}}", "unknown key 'sett' in models.a.request. Did you mean 'set'?"),
        ("request: {strip: {x: 1}}", "models.a.request.strip"),
        ("request: 3", "models.a.request"),
        ("profiles: {p: {}}", "the profile 'p' changes nothing"),
        ("profiles: {p: {aliases: [q]}}", "the profile 'p' changes nothing"),
        ("profiles: {'p q': {strip: [x]}}", "'p q' cannot be the name of a profile"),
        ("profiles: {'p:q': {strip: [x]}}", "'p:q' cannot be the name of a profile"),
        ("profiles: {p: {strip: [model]}}", "'model' is what a request is about"),
        ("profiles: {p: {strip: [x], aliases: [b]}}", "the alias 'b' is the name of a Model"),
        ("profiles: {p: {strip: [x], aliases: ['a:p']}}", "the alias 'a:p' is here twice"),
        ("aliases: ['a:p']\n    profiles: {p: {strip: [x]}}", "the profile's name 'a:p' is here twice"),
        ("profiles: {p: {strip: [x], temperature: 1}}", "unknown key 'temperature' in models.a.profiles.p."),
    ],
)
def test_what_is_wrong_is_told(config: Loader, text: str, sentence: str) -> None:
    problems = config.problems(f"models:\n  a:\n    source: x\n    {text}\n  b: {{source: x}}\n")
    assert len(problems) == 1 and sentence in problems[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("default_model: aa", "corral.yaml:1: there is no Model 'aa'. Did you mean 'a'?"),
        ("default_model: {chat: e}", "corral.yaml:1: 'e' is for embeddings: it cannot be the default for chat"),
        ("default_model: {rerank: e}", "'e' is for embeddings: it cannot be the default for rerank"),
        ("default_model: {chatt: a}", "server.default_model"),
        ("default_model: 3", "server.default_model"),
        ("unknown_model: guess", "server.unknown_model must be 'refuse' or 'default'"),
    ],
)
def test_a_default_that_cannot_be(config: Loader, text: str, sentence: str) -> None:
    models = "models: {a: {source: x}, e: {source: x, task: embeddings}}"
    problems = config.problems(f"server: {{{text}}}\n{models}\n")
    assert len(problems) == 1 and sentence in problems[0]


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"when": date(2026, 1, 1)}])
def test_what_json_cannot_say(value: object) -> None:
    problems = Problems()
    request_rules(RequestSection(set={"x": value}), ("models", "a", "request"), problems)
    assert len(problems) == 1
