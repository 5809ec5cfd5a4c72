"""Removes secrets from all output of this process: screen, logs and errors.

Code that reads a secret, or learns the name of its variable, registers it here once. The register
is global, because a library may quote a secret anywhere.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from google.protobuf import text_encoding

_STARS = "***"
_hidden: list[str] = []  # the longest first
_changing = threading.Lock()


def hide(secrets: Iterable[str | None]) -> None:
    """Registers secrets, so that `redacted` removes them in plain and escaped forms."""
    with _changing:
        forms = {*_hidden}
        for secret in secrets:
            if secret:
                forms |= _forms(secret)
        _hidden[:] = sorted(forms, key=len, reverse=True)


def hide_variables(names: Iterable[str]) -> None:
    """Registers the values of environment variables; unset ones are skipped."""
    hide(os.environ.get(name) for name in names)


def redacted(text: str) -> str:
    """Returns the text without secrets."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, _STARS)
    return text


def variables_named(content: Any) -> set[str]:
    """Returns the variables named by a config's keys that end in `_env`."""
    found: set[str] = set()
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            for key, below in value.items():
                if not str(key).endswith("_env"):
                    waiting.append(below)
                elif isinstance(below, str):
                    found.add(below)
                elif isinstance(below, Mapping):
                    found |= {one for one in below.values() if isinstance(one, str)}
        elif isinstance(value, list | tuple):
            waiting += value
    return found


def _forms(secret: str) -> set[str]:
    """Returns a secret as Python's repr, protobuf's text format, JSON and URLs write it."""
    raw = secret.encode("utf-8", "surrogateescape")
    forms = {
        secret,
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        text_encoding.CEscape(raw, as_utf8=False),
        text_encoding.CEscape(raw, as_utf8=True),
        quote(secret, safe="", errors="surrogateescape"),
    }
    return {form for form in forms if form}
