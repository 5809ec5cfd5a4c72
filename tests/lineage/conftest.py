"""The store that most tests use."""

from tests.metadata.conftest import tfx

__all__ = ["tfx"]
