"""The application that the configs name: click-through rate of an e-commerce site."""

from __future__ import annotations

from applications.ctr.aggregations import GROUPS
from applications.ctr.etl import build_examples as build_examples
from applications.ctr.etl import events as events
from applications.ctr.etl_parameters import EtlParameters
from applications.ctr.features import FEATURES
from applications.ctr.page_feedback import events_of_request as events_of_request
from applications.ctr.profiles import profiles as profiles
from pipeline.application import Parameters

features = FEATURES
aggregations = GROUPS
parameters = Parameters(etl=EtlParameters)
