"""What no config may hold: one function judges every value, by its key and by its content.

A config is stored in ML Metadata, in compiled specs and in logs. A secret is named there by the
environment variable that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_CONFIDENTIAL = (
    r"passw|passphrase|\bpwd|secret|token|credential|jaas|"
    r"(?:access|account|private|keystore|encryption|api)[._-]?key|\bkey\.pem|\.key\.pem"
)
_NAMES_SECRET = re.compile(_CONFIDENTIAL, re.IGNORECASE)
# Keys that say where secrets are, or that hold none in spite of their name.
_NO_SECRET = re.compile(
    r"\.credentials?\.provider(\.path)?$|^spark\.kubernetes\..*\.(secrets|secretKeyRef)\.|"
    r"_env$|[._-](location|path|file|type|class|provider|policy)$|^tokeniz",
    re.IGNORECASE,
)
_CONTENTS = (
    (re.compile(r"-----BEGIN [A-Z ]*(PRIVATE KEY|CERTIFICATE)"), "a key in PEM"),
    (re.compile(r"//[^/@\s]*:[^/@\s]+@"), "user and password of an address"),
    (re.compile(r":[^/:@\s]+/[^/:@\s]+@"), "user and password of an address"),  # scott/tiger@host
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "an access key"),
    (re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."), "a token"),
)
# name=value within a value: a URL's parameters, an address list, Java's or Beam's options.
_ASSIGNED = re.compile(r"(?P<name>[\w.-]+)\s*[=:]\s*(?P<value>[^\s,;&()'\"]+)")


def names_secret(key: str) -> bool:
    """Whether a value under that key is a secret."""
    return bool(_NAMES_SECRET.search(key)) and not _NO_SECRET.search(key)


def secret_in(key: str, value: object) -> str | None:
    """What is secret about a value, for a person; None if nothing is.

    Args:
      key: The last part of the value's key.
      value: Only texts are secrets.
    """
    if not isinstance(value, str) or not value:
        return None
    if names_secret(key):
        return f"'{key}' holds a secret"
    for pattern, what in _CONTENTS:
        if pattern.search(value):
            return f"its value holds {what}"
    for found in _ASSIGNED.finditer(value):
        if names_secret(found["name"]):
            return f"its value holds '{found['name']}', a secret"
    return None


def find_secret(content: Any, harmless: Collection[str] = ()) -> tuple[str, str] | None:
    """The dotted key of the first secret in a config, and what it is; None if there is none.

    Args:
      content: Of the config.
      harmless: Dotted keys that hold none in spite of their names; their contents are looked at.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            # Keys of options have dots themselves; what they hold may be lists.
            waiting += [((*path, str(key)), below) for key, below in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [((*path[:-1], path[-1] if path else ""), below) for below in value]
        elif path and not _names_variables(path):
            dotted = ".".join(path)
            what = secret_in("" if dotted in harmless else path[-1], value)
            if what is not None:
                return dotted, what
    return None


def _names_variables(path: tuple[str, ...]) -> bool:
    """Whether the value is the name of a variable, as below `options_env`."""
    return any(part.endswith("_env") for part in path)
