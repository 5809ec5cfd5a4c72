"""The error of a training."""

from __future__ import annotations

from base.errors import ComponentError


class TrainingError(ComponentError):
    """A training without a usable model. The text is one line with the next step."""
