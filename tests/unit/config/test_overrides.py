"""The order: defaults < file < CORRAL_* variables < command line."""

from __future__ import annotations

import pytest

from corral.config.overrides import variables
from tests.unit.config.conftest import Loader

FILE = "server: {port: 2, host: localhost}\nstate_dir: from-file\nmodels: {a: {source: x}}\n"


def test_each_layer_goes_before_the_one_below(config: Loader) -> None:
    assert config("").settings.server.port == 11435
    assert config(FILE).settings.server.port == 2
    assert config(FILE, {"CORRAL_SERVER__PORT": "3"}).settings.server.port == 3
    assert config(FILE, {"CORRAL_SERVER__PORT": "3"}, {"server.port": 4}).settings.server.port == 4
    assert config(FILE, {"CORRAL_SERVER__PORT": "3"}).settings.server.host == "localhost", "the rest stays"


def test_relative_paths_count_from_where_they_were_written(config: Loader) -> None:
    folder = str(config.folder)
    assert config(FILE).settings.state_dir == f"{folder}/from-file"
    assert config(FILE, {"CORRAL_STATE_DIR": "here"}).settings.state_dir == f"{folder}/cwd/here"
    assert config(FILE, {}, {"state_dir": "there"}).settings.state_dir == f"{folder}/cwd/there"
    assert config(FILE, {"CORRAL_STATE_DIR": "~/x"}).settings.state_dir == "/home/user/x"


def test_options_lists_and_flow_values_by_variable(config: Loader) -> None:
    env = {
        "CORRAL_DEFAULTS__OPTIONS__LLAMACPP__CTX_SIZE": "512",
        "CORRAL_DEFAULTS__ENV__LLAMACPP__HIP_VISIBLE_DEVICES": "-1",
        "CORRAL_SERVER__ALLOWED_HOSTS": "a.example, b.example",
        "CORRAL_SERVER__KEYS": "[{name: me, key: 0123456789abcdef}]",
        "CORRAL_MEMORY__RAM": "unlimited",
    }
    settings = config(FILE, env).settings
    model = settings.fleet.models["a"]
    assert (model.options["ctx_size"], model.env) == (512, (("HIP_VISIBLE_DEVICES", "-1"),))
    assert settings.server.allowed_hosts == ("a.example", "b.example")
    assert settings.server.keys[0].name == "me"
    assert settings.memory.ram is None


def test_templates_see_what_lies_over_the_file(config: Loader) -> None:
    text = 'server: {port: 2}\nmodels: {a: {source: x, title: "on {{ server.port }}"}}\n'
    assert config(text, {"CORRAL_SERVER__PORT": "3"}).settings.fleet.models["a"].title == "on 3"


def test_text_over_the_file_is_no_template(config: Loader) -> None:
    assert config("", {"CORRAL_LOG__FILE": "/x/{{ y }}${z}"}).settings.log.file == "/x/{{ y }}${z}"


@pytest.mark.parametrize(
    ("variable", "part"),
    [
        ("CORRAL_SERVER__PROT", "CORRAL_SERVER__PROT: this variable fits no key. Did you mean CORRAL_SERVER__PORT?"),
        ("CORRAL_MODELS__A__TTL", "Models and groups are set in the file"),
        ("CORRAL_SERVER__KEYS__0", "fits no key"),
        ("CORRAL_DEFAULTS__TIMEOUTS", "names a whole section"),
        ("CORRAL_DEFAULTS__OPTIONS__LLAMACPP", "names a whole section"),
        ("CORRAL_SERVER__PORT", "CORRAL_SERVER__PORT: server.port must be a whole number"),
        ("CORRAL_DEFAULTS__OPTIONS__LLAMACPP__CTX", "CORRAL_DEFAULTS__OPTIONS__LLAMACPP__CTX: llamacpp has no option"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(config: Loader, variable: str, part: str) -> None:
    assert any(part in problem for problem in config.problems(FILE, {variable: "x"}))


def test_a_broken_flow_value_is_told_by_the_variable(config: Loader) -> None:
    assert config.problems("", {"CORRAL_SERVER__KEYS": "[{name: "})[0].startswith("CORRAL_SERVER__KEYS: ")


def test_what_kubernetes_and_the_client_set_is_no_setting() -> None:
    env = {
        "CORRAL_PORT": "tcp://10.0.0.1:11435", "CORRAL_SERVICE_HOST": "10.0.0.1", "CORRAL_PORT_11435_TCP": "x",
        "CORRAL_CONFIG": "x", "CORRAL_SERVER_URL": "x", "CORRAL_API_KEY": "x", "CORRAL_VERSION": "0.1",
    }  # fmt: skip
    assert variables(env) == ([], [])


def test_only_what_may_be_secret_is_hidden_in_messages(config: Loader) -> None:
    def told(text: str, **env: str) -> str:
        return " ".join(config.problems(text, env))

    assert "not 'abc'" in told("", CORRAL_SERVER__PORT="abc")
    assert "not 'abc'" in told("", CORRAL_DEFAULTS__OPTIONS__LLAMACPP__CTX_SIZE="abc")
    assert "s3cr3t" not in told("server: {port: '${env.X}'}", X="s3cr3t")
    assert "s3cr3t" not in told("", CORRAL_SERVER__KEYS="s3cr3t")
