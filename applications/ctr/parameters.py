"""The parameters that a config may give the CTR application; `load_config` checks them.

It is cheap to import: no Spark, no TensorFlow.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, PositiveInt

# In a module of its own: a change of how the model is trained does not run the ETL again.
from applications.ctr.etl_parameters import LABEL as LABEL
from applications.ctr.etl_parameters import EtlParameters as EtlParameters
from base.section import Section

PREDICTION = "probability"  # the served model's output: `evaluator.prediction` names it

# Adam moves every row it sees by about the learning rate, Adagrad by less and less.
LEARNING_RATE = {"adagrad": 0.05, "adam": 0.001}


class TrainerParameters(Section):
    """`trainer.parameters`: which network, and how it is trained."""

    model_config = ConfigDict(protected_namespaces=())

    model: Literal["logistic_regression", "wide_deep", "deepfm", "dcn", "din"] = Field(
        "dcn", description="see tabular/networks.py"
    )
    deep_layers: tuple[PositiveInt, ...] = Field((256, 128), description="units of each")
    cross_layers: int = Field(2, ge=0, description="of dcn and din")
    attention_layers: tuple[PositiveInt, ...] = Field((32, 16), description="of din's attention")
    factors: int = Field(16, ge=1, description="of deepfm: the common width of its fields")
    dropout: float = Field(0.3, ge=0, lt=1)
    l2: float = Field(0.0, ge=0, description="weight of a batch's squared embeddings in the loss")

    epochs: int = Field(2, ge=1, description="at most; the learning rate decays over all of them")
    rounds_per_epoch: int = Field(4, ge=1, description="validations, and checkpoints, in an epoch")
    patience: int = Field(2, ge=0, description="rounds without a better log loss before it stops")
    batch_size: int = Field(1024, ge=1, description="over all workers")
    calibrate: bool = Field(True, description="fit the output to the eval split, by two numbers")
    optimizer: Literal["adagrad", "adam"] = "adagrad"
    learning_rate: float | None = Field(None, gt=0, description="after the warm-up")
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps of the first epoch")
    weight_averaging: float = Field(
        0.4, ge=0, le=1, description="share of a round over which weights are averaged; 0: none"
    )
    shuffle_rows: int = Field(200_000, ge=0)
    seed: int = 17

    @property
    def peak_rate(self) -> float:
        return self.learning_rate or LEARNING_RATE[self.optimizer]
