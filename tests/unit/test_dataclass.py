"""Our data classes against the standard ones: what holds for those must hold for ours."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from syscontainers import dataclass as ours

BOTH = pytest.mark.parametrize("module", [ours, dataclasses], ids=["ours", "standard"])


def make(module: Any, **options: Any) -> Any:
    class Point:
        """Documented."""

        x: int
        y: int = 2
        names: Mapping[str, str] = module.field(default_factory=dict)
        note: str = module.field(default="none", compare=False)

        @functools.cached_property
        def total(self) -> int:
            return self.x + self.y

    return module.dataclass(**options)(Point)


@BOTH
def test_fields_by_place_by_name_and_by_default(module: Any) -> None:
    point = make(module, frozen=True)
    assert vars(point(1)) == {"x": 1, "y": 2, "names": {}, "note": "none"}
    assert vars(point(1, 3, {"a": "b"}, "n")) == {"x": 1, "y": 3, "names": {"a": "b"}, "note": "n"}
    assert vars(point(note="n", x=1)) == {"x": 1, "y": 2, "names": {}, "note": "n"}
    assert point(1).names is not point(1).names
    assert (point.y, hasattr(point, "names")) == (2, False)


@BOTH
@pytest.mark.parametrize(
    ("args", "given"), [((), {}), ((1, 2, {}, "n", 5), {}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((), {"y": 1})]
)
def test_calls_that_do_not_fit(module: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        make(module, frozen=True)(*args, **given)


@BOTH
def test_equal_are_those_of_one_class_whose_compared_fields_are(module: Any) -> None:
    point, other = make(module, frozen=True), make(module, frozen=True)
    assert point(1, note="a") == point(1, note="b") != point(2)
    assert point(1) != other(1)
    assert point(1) != 1


@BOTH
def test_a_frozen_one_stays_and_can_be_a_key(module: Any) -> None:
    class Key:
        x: int

    key_of = module.dataclass(frozen=True)(Key)
    key = key_of(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(key, name, 2)
    with pytest.raises(AttributeError):
        del key.x
    assert {key: "found"}[key_of(1)] == "found"


@BOTH
def test_one_that_is_not_frozen_changes_and_is_no_key(module: Any) -> None:
    point = make(module)(1)
    point.x = 5
    assert (point.x, point.total) == (5, 7)
    with pytest.raises(TypeError):
        hash(point)


@BOTH
def test_how_it_looks(module: Any) -> None:
    point = make(module, frozen=True)
    assert repr(point(1)) == f"{make.__qualname__}.<locals>.Point(x=1, y=2, names={{}}, note='none')"
    assert point.__doc__ == "Documented."

    class Secret:
        word: str

        def __repr__(self) -> str:
            return "Secret(…)"

    assert repr(module.dataclass(frozen=True)(Secret)("a")) == "Secret(…)"


@BOTH
def test_replace_and_asdict(module: Any) -> None:
    point = make(module, frozen=True)(1, note="kept")
    assert point.total == 3
    assert module.asdict(module.replace(point, y=4)) == {"x": 1, "y": 4, "names": {}, "note": "kept"}
    assert module.replace(point, y=4).total == 5
    with pytest.raises(TypeError):
        module.replace(point, z=1)


@BOTH
def test_asdict_goes_all_the_way_down(module: Any) -> None:
    point = make(module, frozen=True)
    inner = point(1)
    outer = point(inner, (inner, [inner, "a"]), {"b": inner})
    flat = {"x": 1, "y": 2, "names": {}, "note": "none"}
    assert module.asdict(outer) == {"x": flat, "y": (flat, [flat, "a"]), "names": {"b": flat}, "note": "none"}


def test_the_standard_module_knows_it() -> None:
    point = make(ours, frozen=True)(1, note="kept")
    assert hasattr(point, "__dataclass_fields__")
    assert dataclasses.replace(point, y=4) == ours.replace(point, y=4)
    assert dataclasses.asdict(point) == ours.asdict(point)
    assert [each.name for each in dataclasses.fields(point)] == ["x", "y", "names", "note"]


@ours.dataclass(frozen=True)
class Sent:
    x: int
    y: tuple[str, ...] = ()


def test_it_goes_through_a_pipe() -> None:
    sent = Sent(1, ("a",))
    assert pickle.loads(pickle.dumps(sent)) == copy.deepcopy(sent) == sent
