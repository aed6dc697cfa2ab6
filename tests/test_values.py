"""Values behave as frozen dataclasses do."""

from __future__ import annotations

import pickle

import pytest

from tapd.values import Value


class Point(Value):
    """With a default."""

    x: int
    y: int = 0


class Pair(Value):
    """Of the same fields as a `Point`."""

    x: int
    y: int = 0


def test_fields_by_place_by_name_and_by_default() -> None:
    assert Point(1) == Point(1, 0) == Point(y=0, x=1)
    assert repr(Point(1, y=2)) == "Point(x=1, y=2)"
    assert Point(1, 2).as_dict() == {"x": 1, "y": 2}
    assert Point(1, 2).replace(y=3) == Point(1, 3)


def test_equal_are_those_of_one_class_with_equal_fields() -> None:
    assert Point(1) != Point(2)
    assert Point(1) != Pair(1)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_patterns_name_fields_by_place() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


@pytest.mark.parametrize(
    ("values", "named", "why"),
    [
        ((), {}, "needs a value for 'x'"),
        ((1, 2, 3), {}, "does not take more than 2 values"),
        ((1,), {"z": 3}, "does not take z"),
        ((1,), {"x": 1}, "does not take x"),
    ],
)
def test_wrong_values_are_refused(values: tuple[int, ...], named: dict[str, int], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        Point(*values, **named)


def test_it_is_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="'x' can't be assigned"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="'x' can't be deleted"):
        del point.x
    assert point == Point(1)


def test_it_pickles() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
