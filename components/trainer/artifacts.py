"""Artifact types of this component."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class Decision(Artifact):
    """The threshold of a binary model: `decision.json`, as tabular/decision.py writes it.

    Custom properties are `threshold`, `share`, `precision` and `recall` on the split eval, and
    `budget`, `cost` and `warnings` where there are any. Numbers are texts: ML Metadata keeps six
    decimals of a number in SQLite, and a threshold of 0.0000001 would be 0. See QuarantinedRecords
    for why the properties are not declared.
    """

    TYPE_NAME = "components.Decision"
