"""How models that are somewhere else are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.domain.names import MODEL_NAME
from corral.domain.references import (
    BadReference,
    FileReference,
    HubReference,
    OllamaReference,
    Reference,
    WebReference,
    check_inside,
    is_reference,
    means_same,
    parse,
    suggested_name,
)
from corral.store.fetch.rules import target_of

REPO = "unsloth/Qwen3-4B-GGUF"
NAMED: dict[str, tuple[Reference, str]] = {
    f"hf.co/{REPO}": (HubReference(REPO), "qwen3-4b"),
    f"hf:{REPO}:q4_k_m": (HubReference(REPO, quant="Q4_K_M"), "qwen3-4b-q4_k_m"),
    f"HF.CO/{REPO}@v1.0:Q8_0": (HubReference(REPO, "v1.0", "Q8_0"), "qwen3-4b-q8_0"),
    f"https://huggingface.co/{REPO}": (HubReference(REPO), "qwen3-4b"),
    f"https://huggingface.co/{REPO}/resolve/main/Q4/a-00001-of-00003.gguf?download=true": (
        HubReference(REPO, file="Q4/a-00001-of-00003.gguf"), "a",
    ),
    f"https://huggingface.co/{REPO}/blob/refs%2Fpr%2F3/a.gguf": (HubReference(REPO, "refs/pr/3", file="a.gguf"), "a"),
    f"https://huggingface.co/{REPO}/resolve/refs/pr/3/q/a.gguf": (
        HubReference(REPO, "refs/pr/3", file="q/a.gguf"), "a",
    ),
    f"https://huggingface.co/{REPO}/tree/refs%2Fpr%2F3": (HubReference(REPO, "refs/pr/3"), "qwen3-4b"),
    f"https://huggingface.co/{REPO}/blob/main/q/My%20a.gguf": (HubReference(REPO, file="q/My a.gguf"), "my-a"),
    f"hf.co/{REPO}@refs/pr/1:q4_0": (HubReference(REPO, "refs/pr/1", "Q4_0"), "qwen3-4b-q4_0"),
    f"hf.co/{REPO}@refs/pr/1": (HubReference(REPO, "refs/pr/1"), "qwen3-4b"),
    f"hf.co/{REPO}@refs/pr/1/q/a.gguf": (HubReference(REPO, "refs/pr/1", file="q/a.gguf"), "a"),
    f"hf:{REPO}@mine%2Fnew:Q8_0": (HubReference(REPO, "mine/new", "Q8_0"), "qwen3-4b-q8_0"),
    f"hf.co/{REPO}@mine%2Fnew/a.gguf": (HubReference(REPO, "mine/new", file="a.gguf"), "a"),
    f"hf.co/{REPO}@mine/a.gguf": (HubReference(REPO, "mine", file="a.gguf"), "a"),
    f"hf.co/{REPO}/a.GGUF": (HubReference(REPO, file="a.GGUF"), "a"),
    "ollama:llama3.2": (OllamaReference("llama3.2"), "llama3.2"),
    "ollama:llama3.2:1b": (OllamaReference("llama3.2", "1b"), "llama3.2-1b"),
    "ollama:me/mine": (OllamaReference("mine", namespace="me"), "mine"),
    "ollama:localhost:5000/me/mine:x": (OllamaReference("mine", "x", "me", "localhost:5000"), "mine-x"),
    "https://ollama.com/library/phi4:14b": (OllamaReference("phi4", "14b"), "phi4-14b"),
    "https://example.org/m/My%20Model.gguf?token=x": (
        WebReference("https://example.org/m/My%20Model.gguf?token=x"), "my-model",
    ),
    "http://127.0.0.1:80/a.gguf": (WebReference("http://127.0.0.1:80/a.gguf"), "a"),
    "http://[::1]/a.gguf": (WebReference("http://[::1]/a.gguf"), "a"),
    "https://huggingface.co:8443/a/b": (WebReference("https://huggingface.co:8443/a/b"), "b"),
    "file:models/a.gguf": (FileReference("models/a.gguf"), "a"),
    "file:///srv/a%20b.gguf": (FileReference("/srv/a b.gguf"), "a-b"),
}  # fmt: skip


@pytest.mark.parametrize("text", NAMED)
def test_what_is_meant(text: str) -> None:
    reference, name = NAMED[text]
    assert parse(text) == reference
    assert is_reference(text) and suggested_name(reference) == name
    if not isinstance(reference, WebReference):
        assert parse(str(reference)) == reference, "it reads what it writes"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ü.gguf", "u"), ("Modèle 7B.gguf", "modele-7b"), ("a – b.gguf", "a-b"), ("模型一.gguf", "model-1eadccb2"),
        ("模型二.gguf", "model-15a58ccb"),
        ("模型一-00001-of-00002.gguf", "model-1eadccb2"), ("🦙.gguf", "model-0dfc3e20"),
        ("Größe.gguf", "gro-e-aedc3f80"), ("Gro\u0308ße.gguf", "gro-e-aedc3f80"), ("／.gguf", "model"),
    ],
)  # fmt: skip
def test_letters_that_a_name_cannot_have_leave_a_mark(file: str, name: str) -> None:
    """Accents go; whatever else is lost tells the names apart, in whichever form a system writes it."""
    assert suggested_name(FileReference(file)) == name
    assert MODEL_NAME.fullmatch(suggested_name(FileReference("x" * 240 + "模.gguf")))


def test_secrets_are_not_shown() -> None:
    assert str(parse("https://me:secret@example.org/a.gguf?token=secret")) == "https://example.org/a.gguf"


@pytest.mark.parametrize(
    "text",
    [
        "https://u:secret@example.org/dir/",
        "https://u:sec/ret@example.org/dir/",
        "https://u:se?cret@example.org/dir/",
        "https://u:x@secret/w@example.org/dir/",
        "https:/u:secret@example.org/a.gguf",
        "https:u:secret@example.org/a.gguf",
        "HTTPS://secret@example.org/",
        "u:secret@example.org/a.gguf",
        "ftp://u:secret@example.org/a",
        "https://example.org:99999999/x?sig=secret",
        "https://example.org/dir/?sig=secret",
        "https://example.org/#secret",
        "https://example.org?sig=secret",
        "hf.co/repo?token=secret",
        "hf.co/a/b?token=secret",
        "hf.co/a/b:Q4?token=secret",
        "hf.co/a/b@v1?token=secret",
        "hf.co/a/b@refs/pr/1?token=secret",
        "ollama:x?token=secret",
        "example.org/a.gguf?token=secret",
    ],
)
def test_what_is_wrong_with_a_reference_is_told_without_its_secrets(text: str) -> None:
    with pytest.raises(BadReference) as refused:
        parse(text)
    assert "secret" not in str(refused.value) and "w@" not in str(refused.value)


def test_what_is_wrong_is_still_shown() -> None:
    for text in (
        "https://example.org/dir/",
        "https://example.org:99999999/x",
        "hf:repo@main",
        "hf.co/repo",
        "hf.co/a/b:",
        "hf.co/a/b@v1:",
        "ollama:x:",
    ):
        with pytest.raises(BadReference) as refused:
            parse(text)
        assert repr(text) in str(refused.value)
    with pytest.raises(BadReference) as refused:
        parse("https://example.org/" + "a" * 500 + "/")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "hf.co/ORG/REPO"),
        ("org/repo", "Did you mean hf.co/org/repo?"),
        ("hf.co/repo", "ORG/REPO"),
        ("hf:../x", "letters, digits"),
        ("hf:a/b@../..", "revision"),
        ("hf:a/b@refs/pr/..", "revision"),
        ("hf:a/b@x%2F..%2Fy", "revision"),
        ("hf:a/b/../../etc/passwd", "path of a file"),
        ("hf.co/a/b/c\\d.gguf", "path of a file"),
        ("ollama:../../x", "no model of Ollama's"),
        ("ollama:a/b/c/d", "too many parts"),
        ("ollama:x:../y", "no model of Ollama's"),
        ("https://example.org/", "names no file"),
        ("https:///a.gguf", "no address"),
        ("https://[::1/a.gguf", "no address"),
        ("https://[1:2]/a.gguf", "leads nowhere: its host cannot be one"),
        ("https://evil\u2100.com/a.gguf", "leads nowhere: its host cannot be one"),
        ("https://" + "a" * 64 + ".com/a.gguf", "leads nowhere: its host"),
        ("https://a b.com/a.gguf", "leads nowhere: its host"),
        ("https://%41.com/a.gguf", "leads nowhere: its host"),
        ("https://a..b/a.gguf", "leads nowhere: its host"),
        ("https://./a.gguf", "leads nowhere: its host"),
        ("https://a:99999/a.gguf", "leads nowhere: its port is not between 1 and 65535"),
        ("https://a:0/a.gguf", "leads nowhere: its port"),
        ("ollama:h:65536/me/mine", "leads nowhere: its port"),
        ("ollama:h:0/me/mine", "leads nowhere: its port"),
        ("ollama:" + "h" * 64 + "/me/mine", "leads nowhere: its host"),
        ("file:", "needs a path"),
        ("ftp://example.org/a", "no reference"),
        ("hf:a/b:c\x07d", "A reference is"),
    ],
)
def test_what_names_nothing_says_what_would(text: str, says: str) -> None:
    with pytest.raises(BadReference, match=says.replace(".", r"\.").replace("?", r"\?")):
        parse(text)


@given(
    st.text(max_size=80)
    | st.from_regex(r"(hf:|ollama:|https://|hf\.co/)[a-z./:@%\\-]{0,40}", fullmatch=True)
    | st.from_regex(r"https?://(.{1,12}|\[[0-9a-f:.]{1,20}\])(:[0-9]{1,5})?/x\.gguf", fullmatch=True)
)
def test_nothing_leads_out_of_a_store(text: str) -> None:
    try:
        found = parse(text)
    except BadReference:
        return
    if isinstance(found, WebReference):
        assert 0 < target_of(found.url).port < 65536, "whatever is a reference can be taken apart"
    if isinstance(found, HubReference) and found.file:
        check_inside(found.file)
    assert "/" not in suggested_name(found) and not suggested_name(found).startswith((".", "-"))


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a/../b", "..", "a/.", "c:a", "a\\b", "a\0b", "é" * 200, "a\n"])
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(BadReference):
        check_inside(path)


def test_plain_paths_are_no_references() -> None:
    assert not any(is_reference(text) for text in ("a.gguf", "/srv/a.gguf", "./hf.co", "hf.co", "C:\\a.gguf", "a/b"))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("hf.co/org/r:q8_0", True), ("https://huggingface.co/ORG/r:Q8_0", True), ("hf.co/Org/R", False),
        ("hf.co/Org/R2:Q8_0", False), ("hf.co/Org/R@v1:Q8_0", False), ("ollama:R:q8_0", False),
        ("", False), ("?", False),
    ],
)  # fmt: skip
def test_the_hubs_names_do_not_differ_by_case(text: str, same: bool) -> None:
    assert means_same(text, parse("hf.co/Org/R:Q8_0")) is same


def test_what_is_in_a_repository_does() -> None:
    assert not means_same("hf.co/o/r/A.gguf", parse("hf.co/o/r/a.gguf"))
    assert not means_same("hf.co/o/r@V1", parse("hf.co/o/r@v1"))
    assert not means_same("https://h/A.gguf", parse("https://h/a.gguf"))
