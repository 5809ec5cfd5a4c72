"""Runs in Feast's own environment: reads features of a repository, as its users do.

    python feast_peer.py REPOSITORY ACTIONS.json

An action is [name, arguments]. The answers are printed as one line of JSON.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from feast import FeatureStore


def historical(store: Any, entities: str, features: list[str], out: str) -> None:
    """Writes the rows of `entities` with features as of their times to `out`, both Parquet."""
    rows = pd.read_parquet(entities)
    pq.write_table(store.get_historical_features(rows, features).to_arrow(), out)


def materialize(store: Any, begin_ms: int, end_ms: int) -> None:
    """Brings the newest row of each entity into the online store."""
    times = (dt.datetime.fromtimestamp(ms / 1000, dt.timezone.utc) for ms in (begin_ms, end_ms))
    store.materialize(*times)


def online(store: Any, entities: list[dict[str, Any]], features: list[str]) -> Any:
    """Returns name -> values of the entities."""
    return store.get_online_features(features, entities).to_dict()


def describe(store: Any) -> Any:
    """Returns what the registry holds of each feature view and entity."""
    views = {
        view.name: {
            "entities": view.entities,
            "ttl": view.ttl.total_seconds(),
            "tags": dict(view.tags),
            "fields": {f.name: [str(f.dtype), dict(f.tags)] for f in view.features},
        }
        for view in store.list_feature_views()
    }
    entities = {one.name: one.join_key for one in store.list_entities()}
    return {"views": views, "entities": entities}


ACTIONS = {action.__name__: action for action in (historical, materialize, online, describe)}


def main(repository: str, actions: str) -> None:
    store = FeatureStore(repository)
    asked = json.loads(Path(actions).read_text("utf-8"))
    answers = [ACTIONS[name](store, **arguments) for name, arguments in asked]
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
