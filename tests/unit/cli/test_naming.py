"""Every command means the same by a NAME, and says the same of one that means nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from corral.cli import serving
from corral.cli.connect import Answered, Corral
from corral.cli.given import Fetching, Given, Shelf
from corral.cli.serving import Serving
from corral.domain.errors import CorralError
from corral.domain.storage import StoredModel
from corral.store.shelf import origin
from tests.models import ADA, BEN, OBEY, model
from tests.unit.cli.conftest import Command
from tests.unit.store.shelf import kit

REPO = "hf.co/org/ada-GGUF"
FETCHED = "hf/org/ada-GGUF/ada-Q4_K_M.gguf"
SPLIT = "import/split/split-00001-of-00003.gguf"
OTHER = "import/模型é.gguf"
Means = Callable[[Command, str], str]


@pytest.fixture
def store(tmp_path: Path, corral: Command) -> Path:
    """With one model that was fetched, asked for by its repository alone, one split, and two of one repository."""
    root = tmp_path / "home/.local/share/corral/models"
    kit.put(root / FETCHED, model(ADA))
    kit.describe(root, FETCHED, reference=f"{REPO}:Q4_K_M", url="https://hf.co/x")
    asked = origin.read(root, FETCHED)
    assert asked is not None
    origin.write(root, FETCHED, msgspec.structs.replace(asked, asked=(REPO,)))
    for number, part in enumerate(kit.parts_of_split(), 1):
        kit.put(root / f"import/split/split-0000{number}-of-00003.gguf", part)
    kit.put(root / OTHER, model(OBEY))
    for quant in ("Q4_K_M", "Q8_0"):
        kit.put(root / f"hf/org/two-GGUF/two-{quant}.gguf", model(OBEY))
        kit.describe(root, f"hf/org/two-GGUF/two-{quant}.gguf", reference=f"hf.co/org/two-GGUF:{quant}", url="x")
    kit.hub(tmp_path / "home/.cache/huggingface/hub", "org/far-GGUF", "far-Q8_0.gguf", model(BEN))
    return root


def show(corral: Command, word: str) -> str:
    ran = corral("models", "show", word, "--json")
    return str(json.loads(ran.out)["paths"][0]) if ran.code == 0 else fail(ran.err)


def verify(corral: Command, word: str) -> str:
    ran = corral("models", "verify", word, "--json")
    return str(json.loads(ran.out)[0]["path"]) if ran.code == 0 else fail(ran.err)


def remove(corral: Command, word: str) -> str:
    """Which it would: nobody says yes."""
    ran = corral("models", "remove", word)
    if "would be removed for good" not in ran.err:
        return fail(ran.err)
    name = ran.err.removeprefix("corral: ").partition(" (")[0]
    return show(corral, name)


def inspect(corral: Command, word: str) -> str:
    ran = corral("models", "inspect", word, "--json")
    return str(json.loads(ran.out)["name"]) if ran.code == 0 else fail(ran.err)


def fit(corral: Command, word: str) -> str:
    ran = corral("models", "fit", word, "--json")
    return str(json.loads(ran.out)["parameters"]) if ran.code == 0 else fail(ran.err)


def serve(corral: Command, word: str) -> str:
    return one(Shelf("").given([word]))


def run(corral: Command, word: str) -> str:
    """What a Corral of its own would be started for."""
    found: list[Given] = []

    @contextlib.contextmanager
    def own(given: Given, options: object) -> Iterator[Serving]:
        found.append(given)
        yield Serving(Corral(), [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "_own", own)
        with serving.serving([word], [], server="", key="", state_dir="", config="", fetching=Fetching()):
            return one(found[0])


def one(given: Given) -> str:
    (path,) = (*given.files, *(each.path for each in given.stored))
    return os.path.abspath(path)


def fail(said: str) -> str:
    raise CorralError(said.strip().removeprefix("corral: "))


FILES: dict[str, Means] = {"show": show, "verify": verify, "remove": remove, "serve": serve, "run": run}
HEADERS: dict[str, Means] = {"inspect": inspect, "fit": fit}

SAME = {
    "its name": ("ada-q4_k_m", FETCHED),
    "its place": (FETCHED, FETCHED),
    "its place without the ending": (FETCHED.removesuffix(".gguf"), FETCHED),
    "a reference as it was typed": (REPO, FETCHED),
    "a reference with its quantisation": (f"{REPO}:Q4_K_M", FETCHED),
    "in other letters": ("hf:org/ada-GGUF:q4_k_m", FETCHED),
    "its page": ("https://huggingface.co/org/ada-GGUF/blob/main/ada-Q4_K_M.gguf", FETCHED),
    "its path": ("{store}/" + FETCHED, FETCHED),
    "a split one": ("split", SPLIT),
    "the place of its first part": (SPLIT, SPLIT),
    "without the ending": (SPLIT.removesuffix(".gguf"), SPLIT),
    "of a later part": (SPLIT.replace("00001-", "00002-"), SPLIT),
    "without a number": ("import/split/split", SPLIT),
    "one of several": ("hf.co/org/two-GGUF:Q8_0", "hf/org/two-GGUF/two-Q8_0.gguf"),
    "its file as it is written": ("ada-Q4_K_M.gguf", FETCHED),
    "its file without the ending": ("ADA-Q4_K_M", FETCHED),
    "letters that no name may have": ("模型é", OTHER),
    "in the other form of Unicode": ("模型e\u0301.gguf", OTHER),
}


@pytest.mark.parametrize("word", SAME, ids=[each.replace(" ", "-") for each in SAME])
def test_a_word_means_one_file_in_every_command(corral: Command, store: Path, word: str) -> None:
    text, place = SAME[word]
    text = text.format(store=store)
    assert {name: means(corral, text) for name, means in FILES.items()} == dict.fromkeys(FILES, str(store / place))
    assert inspect(corral, text) == inspect(corral, str(store / place))
    assert fit(corral, text) == fit(corral, str(store / place))


def test_a_store_behind_a_link_is_found_by_either_path(corral: Command, store: Path) -> None:
    (real := store.with_name("real")).parent.mkdir(exist_ok=True)
    store.rename(real)
    store.symlink_to(real)
    for means in (show, verify, remove):
        assert means(corral, str(real / FETCHED)) == means(corral, str(store / FETCHED)) == str(store / FETCHED)
        assert means(corral, str(real / SPLIT.replace("00001-", "00003-"))) == str(store / SPLIT)
    (elsewhere := store.with_name("other.gguf")).symlink_to(real / FETCHED)
    assert "There is no" in said(corral, remove, str(elsewhere)), "whose link that is, nobody knows"


def test_a_file_of_this_folder_goes_before_the_file_of_a_name(corral: Command, store: Path) -> None:
    kit.put(store / "import/more/Mine.gguf", model(OBEY))
    kit.put(store / "import/other/Mine.gguf", model(OBEY))
    here = kit.put(Path("Mine.gguf").absolute(), model(BEN))
    assert serve(corral, "Mine.gguf") == run(corral, "Mine.gguf") == str(here)
    here.unlink()
    for means in (*FILES.values(), *HEADERS.values()):
        assert "may be any of " in said(corral, means, "Mine.gguf"), "one of them would be a guess"


def test_another_programs_model_has_its_name_everywhere(corral: Command, store: Path) -> None:
    path = show(corral, "far-q8_0")
    assert "huggingface" in path
    assert verify(corral, "far-q8_0") == serve(corral, "far-q8_0") == run(corral, "far-q8_0") == path
    assert inspect(corral, "far-q8_0") == "Ben"
    with pytest.raises(CorralError, match="kept by Hugging Face"):
        remove(corral, "far-q8_0")


def test_the_first_that_there_is_counts(corral: Command, store: Path) -> None:
    """A Model, a name, a place, then a file of this folder; `./` says that a file is meant."""
    Path("ada-q4_k_m").mkdir()
    kit.put(Path("ada-q4_k_m/other.gguf"), model(BEN))
    here = kit.put(Path(FETCHED).absolute(), model(BEN))
    for name, means in FILES.items():
        assert means(corral, "ada-q4_k_m") == means(corral, FETCHED) == str(store / FETCHED), name
    assert inspect(corral, "ada-q4_k_m") == inspect(corral, FETCHED) == "Ada"
    assert run(corral, f"./{FETCHED}") == serve(corral, f"./{FETCHED}") == str(here)
    assert inspect(corral, f"./{FETCHED}") == "Ben"
    kit.put(Path("mine.gguf"), model(BEN))
    assert inspect(corral, "mine.gguf") == "Ben" and serve(corral, "mine.gguf") == str(Path("mine.gguf").absolute())
    Path("corral.yaml").write_text(f"models: {{ada-q4_k_m: {{source: {model(OBEY)}}}}}")
    assert inspect(corral, "ada-q4_k_m") == "Obey" and show(corral, "ada-q4_k_m") == str(store / FETCHED)


def test_a_file_needs_no_config_that_can_be_read(corral: Command, store: Path) -> None:
    kit.put(Path("mine.gguf"), model(BEN))
    Path("corral.yaml").write_text("models: [")
    assert inspect(corral, "mine.gguf") == "Ben"
    assert serve(corral, "mine.gguf") == run(corral, "mine.gguf") == str(Path("mine.gguf").absolute())
    with pytest.raises(CorralError, match=r"corral.yaml"):
        inspect(corral, "mine")


def said(corral: Command, means: Means, word: str) -> str:
    with pytest.raises(CorralError) as caught:
        means(corral, word)
    return caught.value.sentence()


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("ada-q4km", "The store has 'ada-q4_k_m'."),
        ("splitt", "The store has 'split'."),
        ("hf/org/ada-GGUF/ada-Q4_K", "The store has "),
        ("org/Whatever-GGUF", "Did you mean hf.co/org/Whatever-GGUF?"),
        ("zzz", "`corral models list` shows what is there"),
    ],
)
@pytest.mark.parametrize("configured", [False, True])
def test_every_command_says_the_same_of_what_is_nowhere(
    corral: Command, store: Path, word: str, advice: str, configured: bool
) -> None:
    if configured:
        Path("corral.yaml").write_text(f"models: {{coder: {{source: {model(OBEY)}}}}}")
    for name, means in {**FILES, **HEADERS}.items():
        told = said(corral, means, word)
        assert advice in told and repr(word) in told and "\n" not in told, (name, told)


def test_a_model_of_the_config_is_no_name_of_the_store_and_that_is_told(corral: Command, store: Path) -> None:
    Path("corral.yaml").write_text(f"models: {{coder: {{source: {model(OBEY)}}}}}")
    for means in (show, verify, remove):
        assert "It is a Model: USED BY in `corral models list --all`" in said(corral, means, "coder")


def test_what_may_be_several_is_not_guessed(corral: Command, store: Path) -> None:
    for means in (show, verify, remove):
        assert "may be any of two-q4_k_m, two-q8_0. Say which by its name." in said(corral, means, "hf.co/org/two-GGUF")


def test_a_file_that_is_nowhere_is_told_with_its_neighbours(corral: Command, store: Path) -> None:
    kit.put(Path("mine.gguf"), model(BEN))
    for name, means in {"serve": serve, "run": run, **HEADERS}.items():
        for word in ("mime.gguf", "./mime.gguf", "file:mime.gguf"):
            assert "Did you mean mine.gguf?" in said(corral, means, word), (name, word)
        assert "The store has 'split'." in said(corral, means, "splitt.gguf"), name


@pytest.mark.parametrize(
    ("source", "word", "own"),
    [
        (f"{REPO}:Q4_K_M", "hf:org/ada-GGUF:q4_k_m", False),
        (f"{REPO}:Q4_K_M", REPO, False),
        (f"{REPO}:Q4_K_M", f"{REPO}/ada-Q4_K_M.gguf", False),
        ("{store}/" + FETCHED, f"{REPO}:Q4_K_M", False),
        ("hf.co/org/new-GGUF:Q8_0", "hf.co/org/new-GGUF:q8_0", False),
        ("https://example.org/a.gguf?a=1", "https://example.org/a.gguf?a=1", False),
        ("hf.co/org/new-GGUF:Q8_0", f"{REPO}:Q4_K_M", True),
        ("hf.co/org/two-GGUF:Q8_0", "hf.co/org/two-GGUF:Q4_K_M", True),
    ],
)
@pytest.mark.parametrize("runs", [False, True])
def test_a_reference_that_a_model_serves_is_that_model(
    corral: Command, store: Path, monkeypatch: pytest.MonkeyPatch, source: str, word: str, own: bool, runs: bool
) -> None:
    source = source.format(store=store)
    Path("corral.yaml").write_text(f"models: {{mine: {{source: '{source}'}}}}")
    asked: list[str] = []
    private(monkeypatch, asked)
    if runs:
        path = str(store / FETCHED) if "ada" in source else ""
        reference = source if source.startswith("hf.co") else ""
        row: dict[str, object] = {"model": "mine", "aliases": [], "reference": reference, "path": path}
        monkeypatch.setattr("corral.cli.connect.find", lambda **_: RunningOne(row))
    if source.startswith("https") and runs:
        return  # an address may be a secret, and is not told: it counts once its file is there
    with serving.serving([word], [], server="", key="", state_dir="", config="", fetching=Fetching()) as found:
        assert (found.names == ["mine"]) is not own
    assert asked == ([] if runs and not own else ["own"] if own else ["configured"])
    asked.clear()
    if not source.startswith("https") and "new" not in word:
        with serving.serving(
            [word], ["ctx_size=512"], server="", key="", state_dir="", config="", fetching=Fetching()
        ) as found:
            assert asked == ["own"], "with options of its own it is another"


def private(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    @contextlib.contextmanager
    def started(arguments: Sequence[str], **_: object) -> Iterator[Corral]:
        asked.append("configured" if "--config" in arguments else "own")
        yield Corral()

    monkeypatch.setattr("corral.cli.private.started", started)


class RunningOne(Corral):
    """It has one Model."""

    def __init__(self, row: dict[str, object]) -> None:
        super().__init__()
        self.row = row

    def ask(self, method: str, path: str, *_: object, **__: object) -> object:
        if path.startswith("/v1/models/"):
            raise Answered("No Model is named so.", 404)
        return {"models": [self.row]}


def test_a_corral_of_its_own_is_told_by_path_of_what_another_program_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may have another model of that name, and its names go before."""
    inside = kit.put(tmp_path / "store/import/q.gguf", model(ADA))
    outside = kit.put(tmp_path / "cache/p.gguf", model(BEN))
    told: list[str] = []

    @contextlib.contextmanager
    def started(words: Sequence[str], *, variables: Mapping[str, str]) -> Iterator[Corral]:
        told.extend(words)
        yield Corral(socket_path="/none")

    monkeypatch.setattr("corral.cli.private.started", started)
    stored = (StoredModel("q", str(inside)), StoredModel("p", str(outside)))
    with serving._own(Given((), stored, f"{tmp_path}/store/"), []) as found:
        assert set(found.names) == {"p", "q"}
    assert told == ["--stored", "q", "--stored", str(outside), "--"]
