"""Finds secrets in a config by the keys and the contents of its values.

A config is stored in ML Metadata, in compiled specs and in logs. So it must name the environment
variable that holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

_CONFIDENTIAL = (
    r"passw|passphrase|pwd|(?:^|[._-])pass(?:$|[._-])|secret|credential|jaas|"
    r"token(?!iz|s$|s?[._-]?(?:count|size|length|s_per))|"
    r"(?:access|account|private|keystore|encryption|api|secret)[._-]?key|key[._-]pem|"
    r"user[._]info$|^authorization$"
)
_NAMES_SECRET = re.compile(_CONFIDENTIAL, re.IGNORECASE)
# Keys for the place or kind of a secret, which are harmless.
_NO_SECRET = re.compile(
    r"\.credentials?\.provider(\.path)?$|^spark\.kubernetes\..*\.(secrets|secretKeyRef)\.|"
    r"_env$|[._-](location|path|file|type|class|provider|policy|url|endpoint|enabled|name|ref)$|"
    r"(File|Enabled|Provider|Type)$|num_tokens|max_tokens|vocab"
)
_CONTENTS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"), "a private key"),
    (re.compile(r"//[^/@\s]*:[^/@\s]+@"), "user and password of an address"),
    (re.compile(r"//(gh[pousr]_|github_pat_)\w+@"), "a token in an address"),
    (re.compile(r"^jdbc:oracle:.*:[^/:@\s]+/[^/:@\s]+@"), "user and password of an address"),
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}\b"), "an access key"),
    (re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|\bBearer\s+\S{8,}"), "a token"),
    (
        re.compile(r"//hooks\.slack\.com/services/\S+|[?&]sig=[^&]{8,}"),
        "an address that is a secret",
    ),
)
# name=value within a value: a URL's parameters, an address list, JSON, Java's or Beam's options.
_ASSIGNED = re.compile(r"""(?P<name>[\w.-]+)["']?\s*[=:]\s*["']?(?=[^\s,;&?()'"])""")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names_secret(key: str) -> bool:
    """Returns whether a value under that key is a secret."""
    return bool(_NAMES_SECRET.search(key)) and not _NO_SECRET.search(key)


def secret_in(key: str, value: object) -> str | None:
    """Returns why a value of a config is a secret; None if it is none.

    Args:
      key: Last part of the value's key.
      value: Value of any type; only strings and numbers can be secrets.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        return None
    if names_secret(key):
        return f"'{key}' holds a secret"
    if not isinstance(value, str):
        return None
    for pattern, what in _CONTENTS:
        if pattern.search(value):
            return f"its value holds {what}"
    for found in _ASSIGNED.finditer(value):
        if names_secret(found["name"]):
            return f"its value holds '{found['name']}', a secret"
    return None


def find_secret(content: Any, harmless: Collection[str] = ()) -> tuple[str, str] | None:
    """Returns the dotted key of the first secret in a config, and the reason; None without one.

    Args:
      content: Config as plain data.
      harmless: Dotted keys that hold no secret despite their names; their values are still checked.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            # [{name: DB_PASSWORD, value: ...}], as Kubernetes writes variables
            named = value.get("name") if "value" in value else None
            for key, below in value.items():
                known = str(named) if key == "value" and isinstance(named, str) else str(key)
                waiting.append(((*path, known), below))
        elif isinstance(value, list | tuple):
            waiting += [(path, below) for below in value]
        elif path:
            what = _secret_at(path, value, harmless)
            if what is not None:
                return ".".join(path), what
    return None


def _secret_at(path: tuple[str, ...], value: Any, harmless: Collection[str]) -> str | None:
    if any(part.endswith("_env") for part in path):  # the name of a variable, or several by option
        is_name = not isinstance(value, str) or _VARIABLE.fullmatch(value)
        return None if is_name else f"'{path[-1]}' must name an environment variable"
    what = secret_in("" if ".".join(path) in harmless else path[-1], value)
    if what is None and isinstance(value, str) and value:
        above = next((part for part in path[:-1] if names_secret(part)), None)
        # `secrets` lists the names of Kubernetes' Secrets.
        if above is not None and path[-1] in ("value", "text", "content"):
            return f"'{above}' holds a secret"
    return what
