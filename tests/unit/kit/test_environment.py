"""environment: what looks like a secret, and what does not."""

from __future__ import annotations

import pytest

from corral.kit.environment import inherited, looks_secret


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD", "MYSQL_PWD",
        "TEAM_GATEWAY_KEY", "team_gateway_key", "GOOGLE_APPLICATION_CREDENTIALS", "DB_PASSWD", "SMTP_PASS", "TOKEN",
        "KEY", "KEY_OF_TEAM", "TS_AUTHKEY", "OPENAI_APIKEY", "SSH_AUTH_SOCK", "NPM_CONFIG__AUTH", "GATEWAY_KEYS",
        "GPG_PASSPHRASE", "CLIENT.SECRET", "Api-Key",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "PWD", "OLDPWD", "XAUTHORITY", "KEYBOARD", "XKB_KEYBOARD_LAYOUT", "KEYMAP", "AUTHOR_NAME",
        "TOKENIZERS_PARALLELISM", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "GGML_CUDA_ENABLE_UNIFIED_MEMORY",
        "OMP_NUM_THREADS", "LANG", "PASSENGERS", "SECRETARY", "", "_",
    ],
)  # fmt: skip
def test_what_an_engine_needs_stays(name: str) -> None:
    assert not looks_secret(name)


def test_a_child_inherits_neither_secrets_nor_what_is_hidden_or_scrubbed() -> None:
    env = {"PATH": "/bin", "TEAM": "sk-1", "A_KEY": "sk-2", "LLAMA_ARG_HOST": "x", "LLAMAS": "2"}
    assert inherited(env, scrub=("LLAMA_",), hidden={"TEAM"}) == {"PATH": "/bin", "LLAMAS": "2"}
    assert inherited(env) == {"PATH": "/bin", "TEAM": "sk-1", "LLAMA_ARG_HOST": "x", "LLAMAS": "2"}
