"""Artifact types of this component."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class Decision(Artifact):
    """The threshold of a binary model: `decision.json`, as tabular/decision.py writes it.

    Custom properties are `threshold`, `share`, `precision` and `recall` on the split eval, and
    `budget`, `cost` and `warnings` where there are any. See QuarantinedRecords for why they are not
    declared.
    """

    TYPE_NAME = "components.Decision"
