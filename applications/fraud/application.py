"""The application that the configs name: fraud with payment cards."""

from __future__ import annotations

from applications.fraud.aggregations import GROUPS
from applications.fraud.etl import build_examples as build_examples
from applications.fraud.etl import events as events
from applications.fraud.etl_parameters import EtlParameters
from applications.fraud.features import FEATURES
from applications.fraud.payment_feedback import events_of_request as events_of_request
from applications.fraud.profiles import profiles as profiles
from pipeline.application import Parameters

features = FEATURES
aggregations = GROUPS
parameters = Parameters(etl=EtlParameters)
