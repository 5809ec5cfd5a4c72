"""Rates of dirt in sample data, with presets."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TypeVar

_Dirt = TypeVar("_Dirt", bound="DirtRates")


def rate(default: float, text: str) -> float:
    """Declares a rate, with its help text, as a field of a subclass of DirtRates."""
    value: float = field(default=default, metadata={"help": text})
    return value


@dataclass(frozen=True)
class DirtRates:
    """The base of an application's rates of dirt; its fields are made by `rate`.

    Raises:
      ValueError: A rate is not from 0 to 0.2.
    """

    def __post_init__(self) -> None:
        for kind in fields(self):
            value = getattr(self, kind.name)
            if not 0.0 <= value <= 0.2:
                raise ValueError(
                    f"{kind.name} is {value}, but a rate of dirt must be from 0 to 0.2"
                )

    @classmethod
    def preset(cls: type[_Dirt], name: str) -> _Dirt:
        """Returns the preset `none`, `default`, or `heavy` (five times the default)."""
        factor = {"none": 0.0, "default": 1.0, "heavy": 5.0}[name]
        return cls(**{kind.name: factor * getattr(cls(), kind.name) for kind in fields(cls)})
