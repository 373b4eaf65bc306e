"""Changing a config by command: the right file, the right type, never a worse config, never somebody else's work."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.config import edit_toml, write
from corral.config.document import Document
from corral.config.editing import UNSET, Change, EditPlan, _expected, _plain, plan_change
from corral.config.load import load_document
from corral.config.problems import ConfigErrors, Keys
from corral.config.toml_text import parse
from corral.domain.errors import ConfigError, Conflict
from tests.unit.config.conftest import Rules

TOML = """\
# head
version = 1 # one

[server]
port = 8080   # where
keys = [
  {name = "a", key = "0123456789abcdef"}, # me
]

# The Models.
[models.a]
source = "a.gguf"
aliases = ["x"]

[models.a.options]
ctx_size = 5

[models."b.c"]
source = 'b.gguf'
"""


def check(document: Document) -> None:
    engines = {"llamacpp": Rules(), "other": Rules()}
    load_document(document, engines=engines, env={"HOME": "/h"}, cwd="/cwd")


def plan(path: Path, keys: Keys, value: Any, *, append: bool = False, file: str = "") -> EditPlan:
    return plan_change(str(path), Change(keys, value, append), check=check, file=file)


@pytest.mark.parametrize(
    ("keys", "value", "old", "new"),
    [
        (("server", "port"), 9, "port = 8080   #", "port = 9   #"),
        (("server", "host"), "::1", "]\n\n# The", ']\nhost = "::1"\n\n# The'),
        (("server", "keys", 0, "name"), "b", 'name = "a"', 'name = "b"'),
        (("models", "a", "aliases", 1), "y", '["x"]', '["x", "y"]'),
        (("models", "a", "options", "ctx_size"), None, "ctx_size = 5", 'ctx_size = "${null}"'),
        (("models", "b.c", "ttl"), "1h", "'b.gguf'\n", "'b.gguf'\nttl = \"1h\"\n"),
        (("models", "a", "options"), UNSET, "[models.a.options]\nctx_size = 5\n\n", ""),
        (("models", "a", "aliases"), UNSET, 'aliases = ["x"]\n', ""),
    ],
)  # fmt: skip
def test_toml_keeps_everything_else(keys: Keys, value: Any, old: str, new: str) -> None:
    after = edit_toml.unset(TOML, keys) if value is UNSET else edit_toml.set_value(TOML, keys, value)
    assert after == TOML.replace(old, new, 1)


def test_what_is_new_in_toml_does_not_take_the_comments_of_the_next_table() -> None:
    text = "a = 1\n# about b\n[b]\nx = 1\n# y = 2\n\n# about c\n[c]\ny = 2\n"
    assert edit_toml.set_value(text, ("b", "z"), 3) == text.replace("x = 1\n", "x = 1\nz = 3\n")
    assert edit_toml.set_value(text, ("q",), 3).startswith("a = 1\nq = 3\n")
    assert edit_toml.set_value("# all\n\n[b]\nx = 1\n", ("q",), 3) == "# all\nq = 3\n\n[b]\nx = 1\n"
    new = edit_toml.set_value("[m.a]\ns = 1\n\n# about g\n[g]\n", ("m", "b", "s"), 2)
    assert new == "[m.a]\ns = 1\n\n[m.b]\ns = 2\n\n# about g\n[g]\n"


def test_new_sections_in_toml(tmp_path: Path) -> None:
    file = tmp_path / "corral.toml"
    file.write_text(TOML)
    for keys, value in (
        (("models", "n", "source"), "n.gguf"),
        (("models", "n", "options", "ctx_size"), 1),
        (("groups", "g", "members"), ["n"]),
        (("log", "level"), "debug"),
        (("server", "cors_origins", 0), "*"),
    ):
        found = plan(file, keys, value)
        write.replace(found.file, found.before, found.after)
    text = file.read_text()
    assert text.startswith(TOML[:40]) and "# The Models." in text and "# me" in text
    check(parse(text, file=str(file)))
    assert parse(text).data["models"]["n"] == {"source": "n.gguf", "options": {"ctx_size": 1}}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*parse(TOML).lines, ("log", "file"), ("models", "new", "args", "a b"), ("x-l", 0, "q")]),
    st.sampled_from([1, -0.5, True, None, "", "a\nb", 'q"', "{{ x }}", ["a", 1], {"k": {"l": [1]}}]),
    st.booleans(),
)
def test_any_change_of_toml_says_just_that(keys: Keys, value: Any, take_away: bool) -> None:
    change = Change(keys, UNSET if take_away else value)
    before = parse(TOML).data
    try:
        after = edit_toml.unset(TOML, keys) if take_away else edit_toml.set_value(TOML, keys, value)
    except ConfigError as error:
        problem = error.message
    else:
        problem = ""
    if problem:
        assert take_away and keys not in parse(TOML).lines
        return
    assert _plain(parse(after).data) == _plain(_expected(before, change))


def test_a_bad_change_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    file.write_text("server: {port: 1}\n")
    with pytest.raises(ConfigErrors, match="must be a whole number"):
        plan(file, ("server", "port"), "x")
    with pytest.raises(ConfigErrors, match="there is no engine"):
        plan(file, ("defaults", "engine"), "nope")
    assert file.read_text() == "server: {port: 1}\n"


def test_a_config_that_is_broken_already_can_be_repaired_step_by_step(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    file.write_text("server: {port: x, prot: 2}\nlog: {level: info}\n")
    found = plan(file, ("server", "port"), 7)
    assert [each.key for each in found.remaining] == ["server.prot"]
    with pytest.raises(ConfigErrors):
        plan(file, ("log", "level"), "loud")


def test_a_problem_that_only_moves_up_in_its_list_is_no_new_one(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    file.write_text("models: {a: {source: a, aliases: [x, b, y]}, b: {source: b}}\n")
    found = plan(file, ("models", "a", "aliases", 0), UNSET)
    assert [each.key for each in found.remaining] == ["models.a.aliases[0]"]
    with pytest.raises(ConfigErrors, match="'a' is this Model's own name"):
        plan(file, ("models", "a", "aliases", 0), "a")
    with pytest.raises(ConfigErrors, match="'b' is the name of a Model"):  # once more
        plan(file, ("models", "a", "aliases", 0), "b")


def test_an_edit_that_would_say_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    file.write_text("x-t: &t 1h\nmodels: {a: {source: a, ttl: *t}, b: {source: b, ttl: *t}}\n")
    with pytest.raises(ConfigError, match="cannot be changed by command"):
        plan(file, ("x-t",), "2h")
    file.write_text("x-o: &o {ctx_size: 1}\nmodels: {a: {source: a, options: *o}}\n")
    with pytest.raises(ConfigError, match="is an alias"):
        plan(file, ("models", "a", "options", "ctx_size"), 2)


def test_appending(tmp_path: Path) -> None:
    file = tmp_path / "corral.yaml"
    file.write_text("models:\n  a: {source: a, aliases: x}\n  b: {source: b}\n  c: {source: c, aliases: [y]}\n")
    for model, after in (("a", "aliases: [x, n]"), ("b", "aliases: [n]"), ("c", "aliases: [y, n]")):
        assert after in plan(file, ("models", model, "aliases"), "n", append=True).after


def test_in_a_folder_the_file_with_the_key_is_changed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("server: {port: 1}\nmodels: {a: {source: a}}\n")
    (tmp_path / "b.toml").write_text('models.b.source = "b"\n')
    assert plan(tmp_path, ("models", "b", "ttl"), "1m").file == str(tmp_path / "b.toml")
    assert plan(tmp_path, ("server", "host"), "127.0.0.2").file == str(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"log\.level could stand in several files\."):
        plan(tmp_path, ("log", "level"), "debug")
    with pytest.raises(ConfigError, match="could stand in several files"):
        plan(tmp_path, ("models", "c", "source"), "c")
    named = plan(tmp_path, ("log", "level"), "debug", file=str(tmp_path / "b.toml"))
    assert named.after.endswith('[log]\nlevel = "debug"\n')
    with pytest.raises(ConfigError, match="is no file of the config"):
        plan(tmp_path, ("log", "level"), "debug", file=str(tmp_path / "c.yaml"))
    with pytest.raises(ConfigErrors, match="has another value here"):
        plan(tmp_path, ("server", "port"), 2, file=str(tmp_path / "b.toml"))


def test_replacing_keeps_mode_link_and_byte_order_mark(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    real.chmod(0o640)
    link.symlink_to(real)
    write.replace(str(link), "a: 1\r\n", "a: 2\r\n")
    assert link.is_symlink() and real.read_bytes() == b"\xef\xbb\xbfa: 2\r\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_what_somebody_else_wrote_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a: 2\n")
    with pytest.raises(Conflict, match="changed by another hand"):
        write.replace(str(file), "a: 1\n", "a: 3\n")
    assert file.read_text() == "a: 2\n"
    with pytest.raises(ConfigError, match="cannot be written"):
        write.replace(str(tmp_path / "none.yaml"), "", "a: 1\n")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("a: 1\n")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write.replace(str(file), "a: 1\n", "a: 2\n")
    assert file.read_text() == "a: 1\n" and [path.name for path in tmp_path.iterdir()] == ["c.yaml"]
