"""Resolves the examples of the last spans and Transform's analyzer cache of them."""

from __future__ import annotations

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver

from metadata import names
from metadata.ancestry import spans_behind
from metadata.reader import MetadataReader


class SpanWindowStrategy(resolver.ResolverStrategy):
    """Resolves `current` (of this run), `examples` and `analyzer_cache` (all in the store).

    Args:
      length: Number of spans in the window.
      refresh: Number of spans that the window moves at once.
    """

    def __init__(self, length: int, refresh: int = 1):
        self._length, self._refresh = length, refresh

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the newest examples of each span in the window, and at most one cache."""
        (current,) = input_dict["current"]
        newest = _newest_versions([*input_dict["examples"], current])
        end = self._end(newest, current.get_int_custom_property(names.SPAN))
        window = [newest[s] for s in sorted(newest) if end - self._length < s <= end]
        earlier = (
            cache
            for cache in sorted(input_dict["analyzer_cache"], key=lambda c: c.id, reverse=True)
            if max(spans_behind(MetadataReader(store), cache.id), default=end) < end
        )
        cache = next(earlier, None)
        return {
            "current": input_dict["current"],
            "examples": window,
            "analyzer_cache": [cache] if cache else [],
        }

    def _end(self, spans: dict[int, types.Artifact], current: int) -> int:
        """Returns the last span of the window."""
        there = [span for span in spans if span <= current]
        wanted = current - current % self._refresh
        return max((span for span in there if span <= wanted), default=min(there))


def _newest_versions(examples: list[types.Artifact]) -> dict[int, types.Artifact]:
    """Returns last span -> examples, with only the newest examples of each span."""
    newest: dict[int, types.Artifact] = {}
    # Transform's output is of the type Examples, too.
    made = {one.id: one for one in examples if one.has_custom_property(names.INPUT_FINGERPRINT)}
    for one in sorted(made.values(), key=lambda a: a.id):
        last = one.get_int_custom_property(names.SPAN)
        first = int(one.get_string_custom_property(names.SPANS).split("-")[0])
        newest = {span: a for span, a in newest.items() if not first <= span <= last}
        newest[last] = one
    return newest
