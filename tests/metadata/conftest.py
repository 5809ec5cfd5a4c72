"""A store as TFX writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metadata.tfx_store import TfxStore


@pytest.fixture
def tfx(tmp_path: Path) -> TfxStore:
    return TfxStore(tmp_path)
