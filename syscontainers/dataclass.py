"""``dataclass``, ``field``, ``replace`` and ``asdict`` as the module ``dataclasses`` has them, but ready at once.

The standard decorator writes six methods for every class as source and compiles them: half a millisecond each, and a
pull needs 34 such classes; its module also loads ``inspect``. Together that was a sixth of an update of one small
layer. Here the classes share methods that go by the names of the fields.

What this package does not use is not here: inheritance between such classes, ``__post_init__``, slots, order. Type
checkers see the standard module, and so check every call as usual; its own ``replace``, ``fields`` and the like take
these classes for what they look like.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, replace

__all__ = ["asdict", "dataclass", "field", "replace"]


class _Standard:
    """What the standard module looks for in a class; made when it looks."""

    def __get__(self, _instance: object, owner: type) -> Any:
        from dataclasses import fields, make_dataclass

        return {each.name: each for each in fields(make_dataclass(owner.__name__, owner.__annotations__.items()))}


class _Field:
    """One field: what makes a value that was not given, if it may be missing, and whether its values count."""

    def __init__(self, default: Callable[[], Any] | None = None, *, compare: bool = True) -> None:
        self.default = default
        self.compare = compare


def _field(*, default: Any = None, default_factory: Callable[[], Any] | None = None, compare: bool = True) -> _Field:
    return _Field(default_factory or (lambda: default), compare=compare)


def _dataclass(cls: type | None = None, /, *, frozen: bool = False) -> Any:
    if cls is None:
        return lambda cls: _dataclass(cls, frozen=frozen)
    fields = {name: _take_field(cls, name) for name in cls.__annotations__}
    methods: dict[str, Any] = {
        "__fields__": fields,
        "__dataclass_fields__": _Standard(),
        "__init__": _initializer(fields),
        "__repr__": _represent,
        "__eq__": _equals,
    }
    methods |= {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse} if frozen else {"__hash__": None}
    for name, method in methods.items():
        if name not in cls.__dict__:
            setattr(cls, name, method)
    return cls


def _take_field(cls: type, name: str) -> _Field:
    if name not in cls.__dict__:
        return _Field()
    value = cls.__dict__[name]
    if not isinstance(value, _Field):
        return _Field(lambda: value)
    delattr(cls, name)
    return value


def _initializer(fields: dict[str, _Field]) -> Callable[..., None]:
    def __init__(self: Any, /, *args: Any, **given: Any) -> None:  # noqa: N807 - as which it is set
        values = self.__dict__
        values.update(zip(fields, args, strict=False))
        values.update(given)
        fits = len(values) == len(args) + len(given)
        if len(values) < len(fields):
            values.update(
                (name, each.default()) for name, each in fields.items() if each.default and name not in values
            )
        if not fits or values.keys() != fields.keys():
            raise TypeError(f"{type(self).__qualname__} takes {', '.join(fields)}, not {args!r} {given!r}")

    return __init__


def _represent(self: Any) -> str:
    values = ", ".join(f"{name}={value!r}" for name, value in _values(self).items())
    return f"{type(self).__qualname__}({values})"


def _compared(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name, each in self.__fields__.items() if each.compare)


def _equals(self: Any, other: object) -> bool:
    return _compared(self) == _compared(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _refuse(self: Any, name: str, _value: Any = None) -> NoReturn:
    raise AttributeError(f"{type(self).__qualname__} is frozen: its {name} stays")


def _replace(value: Any, /, **changes: Any) -> Any:
    return type(value)(**{**_values(value), **changes})


def _values(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__fields__}


def _asdict(value: Any, /) -> dict[str, Any]:
    return {name: _plain(each) for name, each in _values(value).items()}


def _plain(value: Any) -> Any:
    if hasattr(type(value), "__fields__"):
        return _asdict(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


if not TYPE_CHECKING:
    asdict, dataclass, field, replace = _asdict, _dataclass, _field, _replace
