import inspect

from corral.domain import errors


def leaves() -> list[type[errors.CorralError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CorralError)]


def test_every_error_stands_in_the_drawing() -> None:
    drawing = errors.__doc__ or ""

    assert [kind.__name__ for kind in leaves() if kind.__name__ not in drawing] == []


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in leaves()]

    assert len(codes) == len(set(codes))


def test_the_docstring_is_the_default_message() -> None:
    assert errors.QueueFull().message == "The queue is full; try again later."
    assert errors.StartFailed(log_tail=("x",)).message == "The engine did not start."


def test_the_nearest_row_counts() -> None:
    class Stale(errors.FileMissing):
        """Made by a plug-in."""

    table = {errors.CorralError: 1, errors.StoreFailed: 2, errors.BadGguf: 3}

    assert [errors.nearest(table, error) for error in (Stale(), errors.BadGguf(), errors.Busy())] == [2, 3, 1]
