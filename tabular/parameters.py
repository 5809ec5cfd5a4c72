"""`trainer.parameters`: which network, and how it is trained; also what a Tuner's trials set.

It is cheap to import: no Spark, no TensorFlow. Reading a config checks these parameters.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, PositiveInt

from base.section import Section
from tabular.feature_set import FeatureSet

PREDICTION = "probability"  # the served model's output: `evaluator.prediction` names it

# Adam moves every row it sees by about the learning rate, Adagrad by less and less.
LEARNING_RATES = {"adagrad": 0.05, "adam": 0.001}
ON_SEQUENCES = ("din",)  # networks that need a Sequence


class TrainerParameters(Section):
    """`trainer.parameters`: which network, and how it is trained."""

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
    factors: int = Field(16, ge=1, description="width that the fields of deepfm meet in")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of units left out while training")
    l2: float = Field(0.0, ge=0, description="weight of a batch's squared embeddings in the loss")

    epochs: int = Field(
        2, ge=1, description="passes over the data at most; the learning rate decays over them all"
    )
    rounds_per_epoch: int = Field(4, ge=1, description="validations, and checkpoints, in an epoch")
    patience: int = Field(
        2, ge=0, description="rounds without a lower log loss before training stops"
    )
    batch_size: int = Field(1024, ge=1, description="rows of a step, over all workers")
    calibrate: bool = Field(
        True, description="whether the output is fitted to the eval split, by two numbers"
    )
    optimizer: Literal["adagrad", "adam"] = Field("adagrad", description="of Keras")
    learning_rate: float | None = Field(
        None, gt=0, description="after the warm-up; by default 0.05 for adagrad, 0.001 for adam"
    )
    warm_up: float = Field(
        0.05, ge=0, lt=1, description="share of the first epoch over which the learning rate rises"
    )
    weight_averaging: float = Field(
        0.4, ge=0, le=1, description="share of a round over which weights are averaged; 0 for none"
    )
    shuffle_rows: int = Field(
        200_000, ge=0, description="rows to shuffle among where they do not all fit into memory"
    )
    seed: int = Field(17, description="of the weights, the shuffle and the dropout")

    @property
    def peak_rate(self) -> float:
        return self.learning_rate or LEARNING_RATES[self.optimizer]


def check_network(parameters: TrainerParameters, features: FeatureSet) -> None:
    """Checks that the network can be built for these features.

    Raises:
      ValueError: The network looks at sequences, and there is none.
    """
    if parameters.model in ON_SEQUENCES and not features.sequences:
        raise ValueError(
            f"model: {parameters.model} looks at sequences, and the features have none; declare a "
            "Sequence, or choose dcn"
        )
