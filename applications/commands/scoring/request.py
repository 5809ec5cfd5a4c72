"""The request of batch scoring, which a command sends to the Spark process."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
    """The rows to score, the model, and the place of the scores.

    Attributes:
      config, overrides: Config of the pipeline, as for load_config.
      input: Files of rows in place of the primary source; None to score that source itself.
      output: New folder of the scores.
      model: Folder of the SavedModel.
      format: parquet or csv.
      with_features: Whether the features are written beside the scores.
      max_quarantine_fraction: Largest share of rejected rows; None for that of the config.
    """

    config: str
    overrides: tuple[str, ...]
    input: str | None
    output: str
    model: str
    format: str
    with_features: bool
    max_quarantine_fraction: float | None
