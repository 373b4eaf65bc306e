"""What there is to fetch, asked of a hub, a registry and a web server of our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from corral.contracts.fetching import Plan, Role
from corral.domain.errors import (
    BadRequest,
    CorralError,
    FetchFailed,
    FetchRefused,
    FileMissing,
    NotThere,
    WrongContent,
)
from corral.domain.references import HubReference, parse
from corral.domain.storage import StoreSpec
from corral.store.sources.access import access
from corral.store.sources.ollama import check_realm
from corral.store.sources.planning import Sources, exact
from tests.hub_server import COMMIT, HubServer, sha256

LARGE = b"GGUF" + bytes(1000)
OTHER = b"GGUF" + bytes(2000)
PICTURES = b"GGUF" + bytes(300)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def sources(server: HubServer, env: Mapping[str, str] | None = None, **spec: Any) -> Sources:
    fields = {"endpoint": server.endpoint, "trusted": frozenset(server.trusted), **spec}
    return Sources(access(StoreSpec(**fields), {"HOME": "/nonexistent", **(env or {})}))


def plan(server: HubServer, reference: str, *, env: Mapping[str, str] | None = None, **wanted: str) -> Plan:
    return sources(server, env).plan(parse(reference), **wanted)


def refused(kind: type[CorralError], server: HubServer, reference: str, **wanted: str) -> str:
    with pytest.raises(kind) as caught:
        sources(server).plan(parse(reference), **wanted)
    return caught.value.sentence()


def test_a_model_of_the_hub(server: HubServer) -> None:
    server.repo("org/tiny-GGUF", {"README.md": b"hi", "tiny-Q4_K_M.gguf": LARGE, "mmproj-F16.gguf": PICTURES})
    found = plan(server, "hf.co/org/tiny-GGUF")
    model, projector = found.files
    assert (model.path, model.size_bytes, model.sha256) == ("hf/org/tiny-GGUF/tiny-Q4_K_M.gguf", 1004, sha256(LARGE))
    assert (model.role, projector.role) == (Role.MODEL, Role.PROJECTOR)
    assert model.url == f"{server.endpoint}/org/tiny-GGUF/resolve/{COMMIT}/tiny-Q4_K_M.gguf"
    assert (found.licence, found.size_bytes) == ("apache-2.0", 1308)
    assert len(server.asked) == 1, "one question is enough"


def test_a_file_of_a_revision_has_a_place_of_its_own(server: HubServer) -> None:
    server.repo("org/tiny", {"q/tiny #1.gguf": LARGE}, revisions=("main", "refs/pr/1"))
    found = sources(server).plan(HubReference("org/tiny", "refs/pr/1", file="q/tiny #1.gguf"))
    assert found.files[0].path == "hf/org/tiny@refs%2Fpr%2F1/q/tiny #1.gguf"
    assert found.files[0].url.endswith("/q/tiny%20%231.gguf")
    assert plan(server, "hf.co/org/tiny").files[0].path == "hf/org/tiny/q/tiny #1.gguf"
    assert "Invalid rev id: v3" in refused(NotThere, server, "hf.co/org/tiny@v3")


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/org/tiny/blob/refs%2Fpr%2F2/q/tiny-Q4_K_M.gguf",
        "https://huggingface.co/org/tiny/resolve/refs/pr/2/q/tiny-Q4_K_M.gguf?download=true",
        "hf.co/org/tiny@refs/pr/2/q/tiny-Q4_K_M.gguf",
        "hf.co/org/tiny@refs/pr/2:Q4_K_M",
        "hf.co/org/tiny@refs/pr/2",
    ],
)
def test_a_pull_request_is_a_revision_however_it_is_named(server: HubServer, text: str) -> None:
    server.repo("org/tiny", {"q/tiny-Q4_K_M.gguf": LARGE}, revisions=("main", "refs/pr/2"))
    found = plan(server, text)
    assert [each.path for each in found.files] == ["hf/org/tiny@refs%2Fpr%2F2/q/tiny-Q4_K_M.gguf"]
    assert plan(server, str(parse(text))) == found, "it is written so that it is read again"
    assert all("/revision/refs%2Fpr%2F2" in path for path in server.paths() if path.startswith("/api/"))


def test_without_sizes_the_tree_is_read_page_by_page(server: HubServer) -> None:
    parts = {f"Q8_0/big-{number:05d}-of-00005.gguf": LARGE + bytes(number) for number in range(1, 6)}
    server.repo("org/big", {**parts, "README.md": b"x"}, sizes=False)
    server.page = 2
    found = plan(server, "hf:org/big:q8_0")
    assert [each.size_bytes for each in found.files] == [1005, 1006, 1007, 1008, 1009]
    assert [each.sha256 for each in found.files] == [sha256(data) for data in parts.values()]
    assert len([path for path in server.paths() if "/tree/" in path]) == 3


def test_pages_of_another_origin_are_not_read(server: HubServer) -> None:
    server.repo("org/big", {"a.gguf": LARGE, "b.gguf": LARGE}, sizes=False)
    server.page, server.pages_at = 1, server.storage
    assert "next page elsewhere" in refused(FetchRefused, server, "hf.co/org/big")
    assert server.paths("storage") == []


def test_whoever_names_what_is_not_there_is_told_what_is(server: HubServer) -> None:
    server.repo("org/tiny", {"tiny-Q4_K_M.gguf": LARGE, "tiny-Q8_0.gguf": OTHER})
    said = refused(NotThere, server, "hf.co/org/tiny:Q5_K_M")
    assert said.startswith(
        "hf.co/org/tiny has no Q5_K_M. There is: tiny-Q4_K_M.gguf (1004 B), tiny-Q8_0.gguf (2.0 KiB)"
    )
    assert "401" in refused(NotThere, server, "hf.co/org/nothing")
    assert "say one of them" in refused(BadRequest, server, "hf.co/org/tiny:Q8_0", quant="Q4_K_M")
    assert plan(server, "hf.co/org/tiny:Q8_0", quant="q8-0").files[0].size_bytes == 2004


def test_a_token_opens_what_is_private(server: HubServer) -> None:
    server.repo("org/secret", {"m.gguf": LARGE}, token="hf_mine", gated=True)
    assert "set HF_TOKEN" in refused(NotThere, server, "hf.co/org/secret")
    assert plan(server, "hf.co/org/secret", env={"HF_TOKEN": "hf_mine"}).files[0].size_bytes == 1004
    with pytest.raises(NotThere, match="403"):
        plan(server, "hf.co/org/secret", env={"HF_TOKEN": "hf_other"})


def test_the_token_of_a_login_is_read_and_goes_to_no_mirror(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text("hf_login\n")
    (tmp_path / "else").write_text("hf_else")
    env = {"HOME": str(tmp_path)}
    assert access(StoreSpec(), env).rules.tokens == {"huggingface.co": "hf_login"}
    assert access(StoreSpec(endpoint="https://mirror.lan"), env).rules.tokens == {}
    assert access(StoreSpec(), {**env, "HF_TOKEN_PATH": str(tmp_path / "else")}).rules.tokens == {
        "huggingface.co": "hf_else"
    }
    assert access(StoreSpec(), {**env, "HF_TOKEN": "hf_env"}).rules.tokens == {"huggingface.co": "hf_env"}
    own = StoreSpec(tokens={"huggingface.co": "hf_config", "registry.lan": "abc"})
    assert access(own, {**env, "HF_TOKEN": "hf_env"}).rules.tokens == own.tokens
    (tmp_path / "else").write_text("two words\x00")
    assert access(StoreSpec(), {**env, "HF_TOKEN_PATH": str(tmp_path / "else")}).rules.tokens == {}


def test_offline_nothing_is_asked(server: HubServer) -> None:
    server.repo("org/tiny", {"m.gguf": LARGE})
    for env, spec in (({"HF_HUB_OFFLINE": "1"}, {}), ({}, {"offline": True})):
        with pytest.raises(FetchRefused, match="offline"):
            sources(server, env, **spec).plan(parse("hf.co/org/tiny"))
    assert server.asked == []


@pytest.mark.parametrize(
    "answer",
    [b"[]", b'{"siblings": 3}', b'{"siblings": [{"rfilename": 1}]}', b"<html>", b"[" * 100_000, b'{"siblings": [{}]}'],
)
def test_what_no_hub_says_is_refused(server: HubServer, answer: bytes) -> None:
    server.files["/api/models/org/x/revision/main"] = answer
    with pytest.raises(WrongContent):
        plan(server, "hf.co/org/x")


def test_names_that_leave_the_store_are_not_there(server: HubServer) -> None:
    hostile = ["../m.gguf", "/etc/m.gguf", "a/../../m.gguf", "a\\m.gguf", "c:m.gguf", "a//m.gguf", "m\n.gguf"]
    server.repo("org/x", {**dict.fromkeys(hostile, LARGE), "good.gguf": LARGE})
    assert [each.path for each in plan(server, "hf.co/org/x").files] == ["hf/org/x/good.gguf"]
    server.repo("org/x", {".hidden/m.gguf": LARGE})
    assert "begins with a dot" in refused(WrongContent, server, "hf.co/org/x")


def test_a_hash_that_was_given_must_be_the_files(server: HubServer) -> None:
    server.repo("org/x", {"m.gguf": LARGE, "s-00001-of-00002.gguf": LARGE, "s-00002-of-00002.gguf": LARGE})
    assert plan(server, "hf.co/org/x/m.gguf", sha256=sha256(LARGE).upper()).files[0].sha256 == sha256(LARGE)
    assert "another file" in refused(WrongContent, server, "hf.co/org/x/m.gguf", sha256=sha256(OTHER))
    assert "64" in refused(BadRequest, server, "hf.co/org/x/m.gguf", sha256="abc")
    assert "2 parts" in refused(BadRequest, server, "hf.co/org/x", sha256=sha256(LARGE), file="s.gguf")
    url = server.file("/m.gguf", LARGE)
    assert plan(server, url, sha256=sha256(OTHER)).files[0].sha256 == sha256(OTHER), "the transfer will see"


def test_a_model_of_a_registry(server: HubServer) -> None:
    server.model("tiny", {"template": b"{{ x }}", "projector": PICTURES, "model": LARGE, "license": b"MIT"})
    found = plan(server, f"ollama:{server.host}/library/tiny")
    place = f"ollama/{server.host.replace(':', '_')}/library/tiny/latest"
    assert [(each.path, each.role) for each in found.files] == [
        (f"{place}/model.gguf", Role.MODEL),
        (f"{place}/mmproj.gguf", Role.PROJECTOR),
        (f"{place}/template.txt", Role.OTHER),
        (f"{place}/license.txt", Role.OTHER),
    ]
    assert found.licence == "MIT"
    model = found.files[0]
    assert (model.size_bytes, model.sha256) == (1004, sha256(LARGE))
    assert model.url == f"{server.endpoint}/v2/library/tiny/blobs/sha256:{sha256(LARGE)}"
    assert "not in the registry" in refused(NotThere, server, f"ollama:{server.host}/library/tiny:7b")


def test_a_registry_that_wants_a_token(server: HubServer) -> None:
    server.model("tiny", {"model": LARGE}, namespace="me", tag="7b")
    server.login = "registry-token"
    assert plan(server, f"ollama:{server.host}/me/tiny:7b").files[0].size_bytes == 1004
    asked = [each for each in server.asked if each.path.startswith("/token")]
    assert asked[0].path == "/token?scope=repository%3Ame%2Ftiny%3Apull&service=registry", "and no push"
    assert "authorization" not in asked[0].headers


def test_a_realm_of_another_site_gets_nothing(server: HubServer) -> None:
    server.model("tiny", {"model": LARGE}, namespace="me")
    with HubServer(login="x") as elsewhere:
        server.login, server.realm = "secret", f"{elsewhere.endpoint}/token"
        assert "another site" in refused(FetchRefused, server, f"ollama:{server.host}/me/tiny")
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("host", "realm", "fine"),
    [
        ("registry.ollama.ai", "https://ollama.com/token", True),
        ("registry.ollama.ai", "https://auth.ollama.ai/token", True),
        ("registry.ollama.ai", "http://ollama.com/token", False),
        ("registry.ollama.ai", "https://ollama.com.evil.org/token", False),
        ("registry.ollama.ai", "https://evilollama.com/token", False),
        ("registry.ollama.ai", "https://evil.org/?https://ollama.com", False),
        ("registry.ollama.ai", "https://ollama.com@evil.org/token", False),
        ("hub.lan", "https://hub.lan/token", True),
        ("hub.lan", "https://ollama.com/token", False),
        ("hub.lan", "https://auth.hub.lan/token", False),
        ("hub.lan", "file:///etc/passwd", False),
        ("hub.lan", "", False),
    ],
)
def test_realms(host: str, realm: str, fine: bool) -> None:
    if fine:
        check_realm(realm, host)
    else:
        with pytest.raises(FetchRefused):
            check_realm(realm, host)


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../etc/passwd", "sha256-" + "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 65, "md5:" + "a" * 64],
)
def test_a_digest_that_is_none(server: HubServer, digest: str) -> None:
    server.model("tiny", {"model": LARGE})
    server.manifests["library/tiny/latest"]["layers"][0]["digest"] = digest
    assert "digest that is none" in refused(WrongContent, server, f"ollama:{server.host}/library/tiny")


@pytest.mark.parametrize("manifest", [[], {"layers": [{"digest": 3}]}, {"layers": [{"digest": "x", "size": "y"}]}])
def test_a_manifest_that_is_none(server: HubServer, manifest: object) -> None:
    server.manifests["library/tiny/latest"] = manifest
    with pytest.raises(FetchFailed):
        plan(server, f"ollama:{server.host}/library/tiny")


def test_a_model_that_has_no_file(server: HubServer) -> None:
    server.model("big", {"license": b"x"}, tag="cloud")
    assert "runs at Ollama" in refused(NotThere, server, f"ollama:{server.host}/library/big:cloud")


def test_a_file_by_its_address(server: HubServer) -> None:
    url = server.file("/files/my model.gguf", LARGE)
    found = plan(server, url.replace(" ", "%20") + "?sig=secret")
    file = found.files[0]
    assert file.path == f"web/{server.host.replace(':', '_')}@http/files/my model-abb6c339.gguf"
    assert (file.size_bytes, file.sha256, file.role) == (1004, "", Role.MODEL)
    assert file.url.endswith("?sig=secret") and "secret" not in str(found.reference)
    assert file.etag == f'"{sha256(LARGE)}"'
    download = server.file("/download", LARGE)
    assert plan(server, f"{download}?id=7").files[0].path.endswith("/download-f422c82d.gguf"), (
        "it is listed, and looked into"
    )
    assert plan(server, download, name="small").files[0].path.endswith("/small.gguf")
    assert "cannot be the name" in refused(NotThere, server, download, name="../x")


def test_all_parts_by_their_names(server: HubServer) -> None:
    for number in (1, 2, 3):
        server.file(f"/m-{number:05d}-of-00003.gguf", LARGE + bytes(number))
    found = plan(server, f"{server.endpoint}/m-00002-of-00003.gguf")
    assert [each.size_bytes for each in found.files] == [1005, 1006, 1007]
    del server.files["/m-00003-of-00003.gguf"]
    assert "Part 3 of 3 is not there" in refused(NotThere, server, f"{server.endpoint}/m-00001-of-00003.gguf")


def test_a_file_of_this_machine(server: HubServer, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m-0000{number}-of-00002.gguf").write_bytes(LARGE)
    found = plan(server, f"file:{tmp_path}/m-00001-of-00002.gguf")
    assert [each.path for each in found.files] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert found.files[0].url == (tmp_path / "m-00001-of-00002.gguf").as_uri()
    assert "There is no file" in refused(FileMissing, server, f"file:{tmp_path}/other.gguf")


def test_what_only_a_repository_has_cannot_be_asked_of_others(server: HubServer) -> None:
    assert "no --quant" in refused(BadRequest, server, "ollama:tiny", quant="Q8_0")
    assert "names of their own" in refused(BadRequest, server, "hf.co/a/b", name="x")


def test_a_plan_says_what_was_asked_and_exactly_what_was_chosen(server: HubServer) -> None:
    server.repo("org/tiny", {"tiny-Q4_K_M.gguf": LARGE, "tiny-Q8_0.gguf": OTHER, "x/odd.gguf": OTHER})

    def both(reference: str, **wanted: str) -> tuple[str, str]:
        found = sources(server).plan(parse(reference), **wanted)
        return str(found.reference), str(exact(found))

    assert both("hf.co/org/tiny") == ("hf.co/org/tiny", "hf.co/org/tiny:Q4_K_M")
    assert both("hf.co/org/tiny", quant="q80") == ("hf.co/org/tiny:Q8_0", "hf.co/org/tiny:Q8_0")
    assert both("hf.co/org/tiny", file="odd.gguf") == ("hf.co/org/tiny/x/odd.gguf", "hf.co/org/tiny/x/odd.gguf")
    server.repo("org/one", {"one.gguf": LARGE})
    assert both("hf.co/org/one") == ("hf.co/org/one", "hf.co/org/one")
