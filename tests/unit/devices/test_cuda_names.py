import pytest

from corral.devices.cuda_names import Unit, visible

THREE = [Unit("GPU-aa1", "01"), Unit("GPU-ab2", "02"), Unit("GPU-cc3", "03")]
SPLIT = [Unit("MIG-11", "01/00", mig=True), Unit("MIG-12", "01/01", mig=True), Unit("GPU-bb", "02")]


@pytest.mark.parametrize(
    ("chosen", "positions"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("", []),
        ("-1", []),
        ("0,7,1", [0]),  # the first that is not there ends the list
        ("0,0", []),
        ("GPU-cc,GPU-aa1", [2, 0]),
        ("GPU-a", []),  # two begin like that
        ("NoDevFiles", []),
    ],
)
def test_cudas_own_rules(chosen: str | None, positions: list[int]) -> None:
    env = {} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}

    assert visible(THREE, env) == positions


def test_of_mig_instances_one_is_used_and_only_without_a_whole_gpu() -> None:
    assert visible(SPLIT, {}) == [2]
    assert visible(SPLIT[:2], {}) == [0]
    assert visible(SPLIT, {"CUDA_VISIBLE_DEVICES": "MIG-12"}) == [1]
    assert visible(SPLIT, {"CUDA_VISIBLE_DEVICES": "MIG-12,GPU-bb"}) == [1]
