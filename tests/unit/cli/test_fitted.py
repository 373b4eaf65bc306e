"""The answer of `corral models fit` as people read it: every number in its column, every word for what it means."""

from __future__ import annotations

from typing import Any

import pytest

from corral.cli.models.fitted import show

MIB, GIB = 1024**2, 1024**3


def need(device: str, **more: Any) -> dict[str, Any]:
    """A memory of which every number is another."""
    sizes = {"weights": 1, "cache": 2, "compute": 3, "program": 4, "growth": 5, "needs": 15, "free": 60, "total": 80}
    return {
        "device": device, "description": "", "cache": {"full": 2 * GIB}, "limit_bytes": 70 * GIB, "fits": "now",
        **{f"{name}_bytes": size * GIB for name, size in sizes.items()}, **more,
    }  # fmt: skip


def load(*devices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "context_tokens": 8192, "slots": 4, "layers": 32, "gpu_layers": 33, "fits": "now", "speed": None,
        "context_shared": True, "devices": list(devices), "notes": [], **more,
    }  # fmt: skip


def fitted(**more: Any) -> dict[str, Any]:
    return {
        "model": "m", "architecture": "llama", "quantisation": "Q4_K_M", "parameters": 8_030_000_000,
        "size_bytes": 5 * GIB, "trained_context_tokens": 131072, "asked": load(need("ram")), "recommended": None,
        "quantisations": [], "notes": [], **more,
    }  # fmt: skip


def recommended(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"options": options, "why": "So it is best.", "needs": "", "most_context_tokens": 65536, **more}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def shown(**more: Any) -> list[str]:
        show(fitted(**more))
        return capsys.readouterr().out.splitlines()

    return shown


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_head_and_what_was_asked(said: Any) -> None:
    lines = said(recommended=recommended({}, load=load(need("ram"))))
    assert lines[0] == "m: llama Q4_K_M 8.0B parameters, 5 GiB, trained for 131072 tokens"
    assert lines[2] == "As asked: 8192 tokens of context, 4 slots, 33 of 33 layers on GPUs."
    assert said(parameters=58_240)[0] == "m: llama Q4_K_M 58.2K parameters, 5 GiB, trained for 131072 tokens"
    bare = said(parameters=None, trained_context_tokens=None, asked=load(context_tokens=None, slots=1, gpu_layers=0))
    assert bare[0] == "m: llama Q4_K_M 5 GiB"
    assert bare[2] == "As asked: 1 slot, 0 of 33 layers on GPUs."


def test_a_context_for_each_slot(said: Any) -> None:
    assert said(asked=load(context_shared=False))[2].startswith(
        "As asked: 8192 tokens of context for each of 4 slots, 33 "
    )


def test_notes_are_shown_once_where_they_belong(said: Any) -> None:
    asked, better = load(notes=["Of both.", "Of this."]), load(notes=["Of both.", "Of that."], slots=1)
    lines = said(notes=["No projector."], asked=asked, recommended=recommended({}, load=better))
    assert lines[1] == "No projector."
    noted = [line for line in lines if line.startswith("Of ")]
    assert noted == ["Of both.", "Of this.", "Of that."]
    assert lines.index("Of this.") < lines.index("Recommended: as asked") < lines.index("Of that.")


def test_every_number_stands_in_its_column(said: Any) -> None:
    asked = load(need("ram"), need("CUDA0", description="A GPU", limit_bytes=None))
    _, _, _, head, *rows = said(asked=asked)
    assert cells(head) == [
        "DEVICE", "WEIGHTS", "CACHE", "COMPUTE", "PROGRAM", "GROWTH", "NEEDS", "FREE", "AT MOST", "FITS"
    ]  # fmt: skip
    sizes = ["1 GiB", "2 GiB", "3 GiB", "4 GiB", "5 GiB", "15 GiB", "60 GiB"]
    assert cells(rows[0]) == ["ram", *sizes, "70 GiB", "yes"]
    assert cells(rows[1]) == ["CUDA0 (A GPU)", *sizes, "80 GiB", "yes"]
    for column, number in (("WEIGHTS", "1 GiB"), ("AT MOST", "70 GiB")):
        assert head.index(column) + len(column) == rows[0].index(number) + len(number), "numbers stand at the right"
    small = said(asked=load(need("ram", limit_bytes=90 * GIB)))[4]
    assert cells(small)[-2] == "80 GiB", "no more than there is"


@pytest.mark.parametrize(("verdict", "word"), [("now", "yes"), ("later", "once Models leave"), ("never", "no")])
def test_verdicts_have_words(said: Any, verdict: str, word: str) -> None:
    assert cells(said(asked=load(need("ram", fits=verdict)))[4])[-1] == word
    offered = {"quantisation": "Q8_0", "size_bytes": GIB, "fits": verdict, "why": "So.", "tokens_per_s": None,
               "where": "ram", "recommended": False}  # fmt: skip
    assert cells(said(quantisations=[offered])[-1])[2] == word


def test_what_is_recommended_and_what_it_comes_to(said: Any) -> None:
    options = {"n_gpu_layers": "all", "device": ("CUDA0", "CUDA1"), "tensor_split": ["3", "1"], "ctx_size": 0}
    better = load(need("ram"), context_tokens=32768)
    lines = said(recommended=recommended(options, load=better, needs="It needs another."))
    place = lines.index("Recommended: n_gpu_layers: all, device: [CUDA0, CUDA1], tensor_split: [3, 1], ctx_size: 0")
    assert lines[place + 1 : place + 5] == [
        "  So it is best.",
        "  It needs another.",
        "  The longest context that fits so is 65536 tokens.",
        "With that: 32768 tokens of context, 4 slots, 33 of 33 layers on GPUs.",
    ]
    same = said(recommended=recommended({}, load=load(need("ram")), most_context_tokens=None))
    assert same[-2:] == ["Recommended: as asked", "  So it is best."]


def test_nothing_fits(said: Any) -> None:
    assert said()[-1] == "Nothing fits here, whatever else is set: take a smaller quantisation or another model."


def test_kinds_of_cache_are_named_where_there_are_others_than_the_usual(said: Any) -> None:
    usual = said(asked=load(need("ram"), need("CUDA0")))
    assert not any(line.startswith("The cache is") for line in usual)
    mixed = load(need("ram", cache={"full": GIB, "window": MIB}), need("CUDA0", cache={"full": GIB}))
    assert "The cache is 2 GiB keys and values of the whole context, 1 MiB of sliding windows." in said(asked=mixed)
    for kind, words in (
        ("compressed", "of compressed attention (MLA)"), ("index", "of an indexer"), ("state", "recurrent state")
    ):  # fmt: skip
        assert f"The cache is 1 GiB {words}." in said(asked=load(need("ram", cache={kind: GIB})))
    assert not any("cache is" in line for line in said(asked=load(need("ram", cache={}))))


def test_speed_is_said_as_an_estimate_with_what_it_is_from(said: Any) -> None:
    speed = {"empty_per_s": 123.4, "full_per_s": 9.876, "read_bytes": {"ram": GIB, "CUDA0": 3 * GIB},
             "bandwidth_bytes_per_s": {"ram": 50e9, "CUDA0": 3350e9}, "unknown": ()}  # fmt: skip
    assert (
        "Speed, an estimate: at most 123 tokens a second, 9.9 when the context is full "
        "(4 GiB are read for each; ram 50 GB/s, CUDA0 3350 GB/s)."
    ) in said(asked=load(need("ram"), speed=speed))
    shown = said(asked=load(need("ram"), speed={**speed, "full_per_s": None}))
    assert any("at most 123 tokens a second (4 GiB" in line for line in shown)
    unknown = {**speed, "empty_per_s": None, "unknown": ("CUDA0", "CUDA1")}
    assert "Speed: unknown, for the bandwidth of CUDA0, CUDA1 is." in said(asked=load(need("ram"), speed=unknown))


def test_quantisations_that_are_offered(said: Any) -> None:
    rows = [
        {"quantisation": "Q4_K_M", "size_bytes": GIB, "fits": "now", "why": "All on it.", "tokens_per_s": 42.4,
         "where": "gpu", "recommended": True},
        {"quantisation": "Q8_0", "size_bytes": 2 * GIB, "fits": "never", "why": "Nowhere.", "tokens_per_s": None,
         "where": "no", "recommended": False},
    ]  # fmt: skip
    head, first, second, last = said(quantisations=rows)[-4:]
    assert cells(head) == ["QUANTISATION", "SIZE", "FITS", "TOKENS/S", "HOW"]
    assert cells(first) == ["Q4_K_M *", "1 GiB", "yes", "42", "All on it."]
    assert cells(second) == ["Q8_0", "2 GiB", "no", "-", "Nowhere."]
    assert last == "* recommended"
    assert said(quantisations=rows[1:])[-1] != "* recommended"
