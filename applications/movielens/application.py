"""The application that the config names: predicts whether a user likes a film."""

from __future__ import annotations

from applications.movielens.etl import EtlParameters
from applications.movielens.etl import build_examples as build_examples
from applications.movielens.features import FEATURES, GROUPS
from pipeline.application import Parameters

features = FEATURES
aggregations = GROUPS
parameters = Parameters(etl=EtlParameters)
