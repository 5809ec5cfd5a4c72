"""A resolver calls the store as often for a hundred models as for ten."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tfx.types import standard_artifacts

from metadata import names
from metadata.ancestry import sound_models, spans_behind
from metadata.reader import MetadataReader
from tests.metadata.tfx_store import TfxStore

pytestmark = pytest.mark.unit


class Counted:
    """A store that counts its calls."""

    def __init__(self, store: Any):
        self._store, self.calls = store, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._store, name)


def trained(tfx: TfxStore, number: int, base: int | None = None) -> int:
    return tfx.model(f"r{number}", tfx.examples(f"r{number}", span=number), base=base)["model"]


def as_tfx(number: int, withdrawn: bool = False) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.id = number
    if withdrawn:
        artifact.set_string_custom_property(names.WITHDRAWN, "log loss")
    return artifact


def test_spans_are_those_of_the_examples_that_a_generator_made(tfx: TfxStore) -> None:
    first = trained(tfx, 5)
    second = trained(tfx, 7, base=first)
    store = MetadataReader(tfx.store)
    assert set(spans_behind(store, first)) == {5}
    assert max(spans_behind(store, second)) == 7
    assert spans_behind(store, 12345) == []


def test_models_that_come_from_a_withdrawn_one_are_found_all_at_once(tfx: TfxStore) -> None:
    good = trained(tfx, 1)
    bad = trained(tfx, 2, base=good)
    heirs = [bad]
    for number in range(3, 10):
        heirs.append(trained(tfx, number, base=heirs[-1]))
    fresh = trained(tfx, 10, base=good)
    models = [good, *heirs, fresh]
    given = [as_tfx(one, withdrawn=one == bad) for one in reversed(models)]
    store = Counted(tfx.store)
    found = sound_models(MetadataReader(store), given)  # type: ignore[arg-type]
    assert [model.id for model in found] == [good, fresh]
    assert store.calls.total() <= 5


def test_a_model_that_is_not_among_those_asked_about_hands_it_on(tfx: TfxStore) -> None:
    bad = trained(tfx, 1)
    between = trained(tfx, 2, base=bad)
    last = trained(tfx, 3, base=between)
    found = sound_models(MetadataReader(tfx.store), [as_tfx(bad, withdrawn=True), as_tfx(last)])
    assert found == []


def test_without_a_withdrawn_model_the_store_is_not_asked() -> None:
    given = [as_tfx(2), as_tfx(1)]
    found = sound_models(MetadataReader(None), given)  # type: ignore[arg-type]
    assert [model.id for model in found] == [1, 2]
