"""The store that most questions are asked of."""

from tests.metadata.conftest import tfx

__all__ = ["tfx"]
