"""`trainer.parameters`: the network, and how it is trained. A Tuner's trials set them too.

Reading a config checks these parameters, so this module imports neither Spark nor TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, PositiveInt, field_validator

from base.section import Section
from tabular.feature_set import FeatureSet

# Adam moves every row by about the learning rate; Adagrad's steps shrink.
LEARNING_RATES = {"adagrad": 0.05, "adam": 0.001}
ON_SEQUENCES = ("din",)  # networks that need a Sequence
# Parameters of a training with fewer rows than the key, in place of the defaults, if the config has
# neither epochs nor batch_size. docs/training.md has what was measured.
BY_ROWS: Mapping[int, Mapping[str, float]] = {
    50_000: {"epochs": 20, "batch_size": 256, "rounds_per_epoch": 1, "patience": 4},
    250_000: {"epochs": 4, "batch_size": 512},
}
_Parameters = TypeVar("_Parameters", bound="TrainerParameters")


class TrainerParameters(Section):
    """`trainer.parameters`: the network, and how it is trained."""

    model_config = ConfigDict(protected_namespaces=())

    model: Literal["logistic_regression", "wide_deep", "deepfm", "dcn", "din"] = Field(
        "dcn", description="network; tabular/networks.py describes each"
    )
    deep_layers: tuple[PositiveInt, ...] = Field(
        (256, 128), description="units of each layer of the deep part"
    )
    cross_layers: int = Field(2, ge=0, description="cross layers of dcn and din")
    attention_layers: tuple[PositiveInt, ...] = Field(
        (32, 16), description="units of each layer of din's attention"
    )
    factors: int = Field(16, ge=1, description="width that deepfm projects all fields to")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of units dropped in training")
    l2: float = Field(0.0, ge=0, description="weight of a batch's squared embeddings in the loss")

    epochs: int = Field(
        2,
        ge=1,
        description="most passes over the data; the learning rate decays over all of them. If "
        "neither epochs nor batch_size is set, both follow the number of training rows",
    )
    rounds_per_epoch: int = Field(4, ge=1, description="validations and checkpoints per epoch")
    patience: int = Field(
        2, ge=0, description="rounds without a lower log loss before training stops"
    )
    batch_size: int = Field(1024, ge=1, description="rows per step, over all workers")
    calibrate: bool = Field(
        True, description="whether two numbers of the output are fitted to the eval split"
    )
    class_weights: dict[int, float] | Literal["balanced"] | None = Field(
        None,
        description="label -> weight of its examples in the loss, 1 for other labels, or balanced "
        "for the same total of each; the probabilities stay those of the data without them",
    )
    optimizer: Literal["adagrad", "adam"] = Field("adagrad", description="optimizer of Keras")
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; by default 0.05 for adagrad, 0.001 for adam"
    )
    warm_up: float = Field(
        0.05, ge=0, lt=1, description="share of the first epoch over which the learning rate rises"
    )
    weight_averaging: float = Field(
        0.4, ge=0, le=1, description="share of a round over which weights are averaged; 0 for none"
    )
    shuffle_rows: int = Field(
        200_000, ge=0, description="size of the shuffle buffer, if the data exceeds the memory"
    )
    seed: int = Field(17, description="seed of the weights, the shuffle and the dropout")

    @field_validator("class_weights")
    @classmethod
    def _positive(
        cls, given: dict[int, float] | Literal["balanced"] | None
    ) -> dict[int, float] | Literal["balanced"] | None:
        for label, weight in given.items() if isinstance(given, dict) else ():
            if not (weight > 0 and math.isfinite(weight)):
                raise ValueError(
                    f"the weight of label {label} must be a finite number above 0. Received: "
                    f"{weight}. To leave a class out, leave its rows out in the ETL"
                )
        return given

    def by_rows(self, rows: int) -> dict[str, Any]:
        """Returns the parameters that follow from the number of training rows; see BY_ROWS.

        They are empty if epochs or batch_size was given, and never replace a given one. A default
        that an application's own class changes counts as given.
        """
        ours, theirs = TrainerParameters.model_fields, type(self).model_fields
        changed = {name for name in ours if theirs[name].default != ours[name].default}
        given = self.model_fields_set | changed
        if given & {"epochs", "batch_size"}:
            return {}
        found = next((chosen for below, chosen in sorted(BY_ROWS.items()) if rows < below), {})
        return {name: value for name, value in found.items() if name not in given}

    def for_rows(self: _Parameters, rows: int) -> _Parameters:
        """Returns the parameters of a training with this number of rows."""
        return self.model_copy(update=self.by_rows(rows))

    @property
    def peak_rate(self) -> float:
        return self.learning_rate or LEARNING_RATES[self.optimizer]


def check_network(parameters: TrainerParameters, features: FeatureSet) -> None:
    """Checks that the network can be built and trained for these features.

    Raises:
      ValueError: The network needs a sequence, and there is none, or class weights do not fit the
        classes.
    """
    if parameters.model in ON_SEQUENCES and not features.sequences:
        raise ValueError(
            f"model: {parameters.model} needs at least one Sequence, and the features have none. "
            "Declare a Sequence, or choose dcn"
        )
    given = parameters.class_weights
    if given is not None and not features.class_count:
        raise ValueError("class_weights: a regression has no classes. Remove the key")
    if isinstance(given, dict):
        unknown = [label for label in given if not 0 <= label < features.class_count]
        if unknown:
            raise ValueError(
                f"class_weights: expected labels from 0 to {features.class_count - 1}. Received: "
                f"{', '.join(map(str, unknown))}"
            )
