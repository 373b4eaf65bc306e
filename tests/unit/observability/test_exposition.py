from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from corral.observability.exposition import MOST_SAMPLES, merge, read

LLAMA = """\
# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed, excluding cached tokens
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 21
# HELP llamacpp:n_tokens_max Largest observed sequence length (prompt + generation)
# TYPE llamacpp:n_tokens_max counter
llamacpp:n_tokens_max 30
# HELP llamacpp:requests_processing Number of requests processing
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 0
# TYPE llamacpp:spec_decode_num_accepted_tokens_per_pos_total counter
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 4
"""
VLLM = """\
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="org/big"} 0.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="org/big"} 3.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="org/big"} 3.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="org/big"} 0.25
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 1234.0 1717171717000
"""


def seen(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Read by prometheus-client, which is strict."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_family_stands_once_with_the_samples_of_all_models() -> None:
    text = merge([("a", LLAMA), ("b", LLAMA.replace("21", "22"))])
    found = seen(text)

    assert text.count("# TYPE llamacpp:prompt_tokens_total counter") == 1
    assert text.count("# HELP llamacpp:prompt_tokens_total Number of prompt tokens") == 1
    assert found["llamacpp:prompt_tokens_total", (("model", "a"),)] == 21
    assert found["llamacpp:prompt_tokens_total", (("model", "b"),)] == 22
    per_position = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
    assert found[per_position, (("model", "a"), ("position", "0"))] == 4


def test_histograms_and_engines_of_other_kinds() -> None:
    text = merge([("a", LLAMA), ("big", VLLM)])
    found = seen(text)
    labels = (("engine", "0"), ("model", "big"), ("model_name", "org/big"))

    assert found["vllm:time_to_first_token_seconds_count", labels] == 3
    assert found["vllm:time_to_first_token_seconds_bucket", (labels[0], ("le", "+Inf"), *labels[1:])] == 3
    assert text.count("# TYPE vllm:time_to_first_token_seconds histogram") == 1
    assert found["python_gc_objects_collected_total", (("generation", "0"), ("model", "big"))] == 1234


def test_a_label_model_of_the_engines_own_steps_aside() -> None:
    assert seen(merge([("a", 'x{model="mine",b="c"} 1\n')])) == {
        ("x", (("b", "c"), ("exported_model", "mine"), ("model", "a"))): 1
    }


def test_names_of_models_and_labels_are_escaped() -> None:
    found = seen(merge([('we"ird\\\n', 'x{path="C:\\\\dir",quote="\\"",line="\\n"} 1')]))

    assert found == {("x", (("line", "\n"), ("model", 'we"ird\\\n'), ("path", "C:\\dir"), ("quote", '"'))): 1}


def test_infinite_and_missing_numbers_pass() -> None:
    text = merge([("a", "x NaN\ny +Inf\nz -Inf\nw 1e-3\n")])

    assert [line.split()[-1] for line in text.splitlines() if not line.startswith("#")] == [
        "NaN",
        "+Inf",
        "-Inf",
        "1e-3",
    ]
    assert len(seen(text)) == 4


def test_openmetrics_is_read_without_its_times_and_exemplars() -> None:
    text = merge(
        [
            (
                "a",
                "# TYPE jobs counter\n# UNIT jobs jobs\n"
                'jobs_total{a="{"} 17 1520879607.789 # {trace_id="x}y"} 0.67\njobs_created 3\n# EOF\n',
            )
        ]
    )

    assert "# TYPE jobs_total counter\n" in text
    assert seen(text)["jobs_total", (("a", "{"), ("model", "a"))] == 17


def test_what_cannot_be_understood_costs_itself_alone() -> None:
    broken = (
        "# TYPE\n# HELP x\n#\n{} 1\nno_value\nbad{a=b} 1\nbad{a=\"b\" 1\nbad{a=\"b\"c=\"d\" 1\nx 0x10\nx 1_000\n"
        'twice{a="1",a="2"} 1\ngood 2\ngood 3\n\x00\ufffd\n'
    )  # fmt: skip

    assert seen(merge([("a", broken)])) == {("good", (("model", "a"),)): 2}


def test_an_engine_cannot_speak_for_corral_nor_change_a_type() -> None:
    text = merge([("a", "# TYPE x gauge\nx 1\ncorral_leases 9\n"), ("b", "# TYPE x counter\nx 2\ny 1\n")])

    assert seen(text) == {("x", (("model", "a"),)): 1, ("y", (("model", "b"),)): 1}


def test_a_flood_is_cut() -> None:
    found = read("".join(f"x{number} 1\n" for number in range(MOST_SAMPLES + 5)))

    assert len(found) == MOST_SAMPLES


@given(st.lists(st.text(alphabet='abx_:{}="\\,# \n1.eEinfNaT+-TYPEHL', max_size=60), max_size=8))
def test_whatever_engines_say_the_result_can_be_read(lines: list[str]) -> None:
    text = merge([("a", "\n".join(lines)), ("b", LLAMA)])

    assert seen(text)["llamacpp:prompt_tokens_total", (("model", "b"),)] == 21
