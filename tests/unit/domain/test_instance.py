"""Instances in a listing."""

from corral.domain.instance import InstanceState, InstanceView


def test_a_model_that_never_ran_has_no_age() -> None:
    row = InstanceView("m", "", InstanceState.STOPPED, since=7.0).row(1000.0, None)
    assert (row["for_s"], row["ttl_left_s"], row["retry_in_s"], row["expected_wait_s"]) == (None, None, None, None)


def test_times_are_seconds_from_now() -> None:
    view = InstanceView(
        "m", "m-1", InstanceState.READY, since=990.0, expires_at=1060.5, retry_at=999.0, service_s=1.23456
    )
    row = view.row(1000.0, 4.00049)
    assert (row["for_s"], row["ttl_left_s"], row["retry_in_s"]) == (10.0, 60.5, 0.0)
    assert (row["expected_wait_s"], row["service_s"]) == (4.0, 1.235)


def test_what_never_ends_has_no_number() -> None:
    """JSON has none for it."""
    view = InstanceView("m", "m-1", InstanceState.READY, expires_at=float("inf"))
    assert view.row(1000.0, None)["ttl_left_s"] is None
