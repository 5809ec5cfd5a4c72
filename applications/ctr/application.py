"""The application that the configs name: click-through rate of an e-commerce site."""

from __future__ import annotations

from applications.ctr.etl import build_examples as build_examples
from applications.ctr.etl_parameters import EtlParameters
from applications.ctr.features import FEATURES
from applications.ctr.hour_tables import DECLARED
from applications.ctr.hour_tables import hour_tables as hour_tables
from applications.ctr.hour_tables import profiles as profiles
from applications.ctr.page_feedback import events_of_request as events_of_request
from pipeline.application import Parameters

features = FEATURES
aggregations = DECLARED
parameters = Parameters(etl=EtlParameters)
