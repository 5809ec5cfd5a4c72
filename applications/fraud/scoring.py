"""Scores payments: features from the online store, the probability from the model server."""

from __future__ import annotations

import dataclasses

from applications.fraud.request_features import Payment, RequestFeatures
from serving.client.client import Scores, ScoringClient


class PaymentScorer:
    """Scores one payment per request, and logs it through the server.

    Args:
      client: Client of the model server.
      features: Features of payments.
    """

    def __init__(self, client: ScoringClient, features: RequestFeatures):
        self._client, self._features = client, features

    def score(self, payment: Payment) -> Scores:
        """Returns the answer: one score, the probability of fraud, and whether to review it.

        The payments of a card get the same version while there is a canary.

        Raises:
          UnknownMerchantError, OnlineStoreError: There are no features; see RequestFeatures.row.
          grpc.RpcError, ValueError: There is no valid score; see ScoringClient.score.
        """
        example = self._features.example(payment)
        context = {"payment": dataclasses.asdict(payment)}
        return self._client.score(payment.card, [example], context=context)
