"""The server's options as flags: one place says what there is."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo

from serving.server.options import ServerOptions


def server_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a flag for each option; those that are not given are None."""
    for name, field in reversed(ServerOptions.model_fields.items()):
        function = _flag(name, field)(function)
    return function


def _flag(name: str, field: FieldInfo) -> Callable[..., Any]:
    kind = _kind(field.annotation)
    default = f"  [default: {field.default}]" if field.default is not None else ""
    said = field.description or ""
    text = said[:1].upper() + said[1:] + default
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text.strip())
    return click.option(flag, name, type=kind, default=None, help=text.strip())


def _kind(annotation: Any) -> Any:
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(list(typing.get_args(annotation)))
    kinds = [kind for kind in typing.get_args(annotation) or [annotation] if kind is not type(None)]
    return click.Path(path_type=Path) if kinds[0] is Path else kinds[0]
