"""Calls TFX's executor so that what is known of a window is one dataset; see README.md."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.transform import executor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils

from components.transform import span_caches

_AT_ONCE = 6  # spans without a cache: their stages are in memory together
_ANALYZED = "train"  # split, if nothing else is said

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Span:
    examples: types.Artifact
    cache: Path | None  # what was found in it

    def find(self, cache: Path) -> Path | None:
        (split,) = artifact_utils.get_split_uris([self.examples], _ANALYZED)
        return span_caches.find_dataset(cache, io_utils.all_files_pattern(split))


class _UselessCacheError(Exception):
    """TFX read a span again although its cache was there."""


class _NoCacheError(Exception):
    """TFX made none, as it does where there are hundreds of analyzers."""


class TransformExecutor(executor.Executor):
    """See README.md. Without a cache to write, or with splits of the caller's, it is TFX's."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        written = output_dict.get(keys.UPDATED_ANALYZER_CACHE_KEY)
        if not written or exec_properties.get(keys.SPLITS_CONFIG_KEY):
            super().Do(input_dict, output_dict, exec_properties)
            return
        window = _Window(self, input_dict, output_dict, exec_properties)
        with tempfile.TemporaryDirectory(prefix="transform-") as folder:
            try:
                found = self._analyze(window, Path(folder))
            except _NoCacheError:
                _log.warning("TFX makes no analyzer cache for so many analyzers: all at once")
                super().Do(input_dict, output_dict, exec_properties)
                return
            cache = Path(artifact_utils.get_single_uri(written))
            cache.mkdir(parents=True, exist_ok=True)
            for span in found:
                if span.cache is not None:
                    shutil.copytree(span.cache, cache / span.cache.name)

    def _analyze(self, window: _Window, folder: Path) -> list[_Span]:
        spans = window.spans()
        try:
            return window.analyze(spans, folder / "run")
        except _UselessCacheError:
            _log.warning("the analyzer cache is of another preprocessing: all is analyzed")
            window.clear()
            spans = [dataclasses.replace(span, cache=None) for span in spans]
            return window.analyze(spans, folder / "anew")

    def do_as_tfx(self, *arguments: Any) -> None:
        """What the standard Transform does."""
        super().Do(*arguments)


@dataclasses.dataclass(frozen=True)
class _Window:
    """One execution: what TFX gave to the executor."""

    executor: TransformExecutor
    inputs: dict[str, list[types.Artifact]]
    outputs: dict[str, list[types.Artifact]]
    properties: dict[str, Any]

    def spans(self) -> list[_Span]:
        """All of the window, with their caches as far as these are of use."""
        given = [_Span(examples, None) for examples in self.inputs[keys.EXAMPLES_KEY]]
        caches = self.inputs.get(keys.ANALYZER_CACHE_KEY)
        if not caches:
            return given
        cache = Path(artifact_utils.get_single_uri(caches))
        found = [span.find(cache) for span in given]
        good = span_caches.usable(found)
        return [
            dataclasses.replace(span, cache=one if fits else None)
            for span, one, fits in zip(given, found, good, strict=True)
        ]

    def clear(self) -> None:
        """Removes what a run has written: TFX does not write over it."""
        for artifact in (one for several in self.outputs.values() for one in several):
            shutil.rmtree(artifact.uri, ignore_errors=True)

    def analyze(self, spans: Sequence[_Span], folder: Path) -> list[_Span]:
        """Makes the transform graph; returns the spans, with their caches.

        Raises:
          _UselessCacheError: those that the spans came with were not used.
          _NoCacheError: there is none to go on with.
        """
        known = [span for span in spans if span.cache is not None]
        new = [span for span in spans if span.cache is None]
        parts = [new[start : start + _AT_ONCE] for start in range(0, len(new), _AT_ONCE)] or [[]]
        for number, part in enumerate(parts):
            if len(parts) > 1:
                _log.info("spans without a cache: part %d of %d", number + 1, len(parts))
            outputs = dict(self.outputs)
            if part is not parts[-1]:
                graph = standard_artifacts.TransformGraph()
                graph.uri = str(folder / f"{number}-graph")
                outputs[keys.TRANSFORM_GRAPH_KEY] = [graph]
            found = self._run(known, part, outputs, folder / str(number))
            if part is not parts[-1] and not all(span_caches.usable([s.cache for s in found])):
                raise _NoCacheError
            known += found
        return known

    def _run(
        self,
        known: list[_Span],
        new: list[_Span],
        outputs: dict[str, list[types.Artifact]],
        folder: Path,
    ) -> list[_Span]:
        """TFX's executor on the new spans and on what is known; returns the new ones."""
        after = folder / "after"
        inputs = {
            key: given for key, given in self.inputs.items() if key != keys.ANALYZER_CACHE_KEY
        }
        inputs[keys.EXAMPLES_KEY] = [span.examples for span in [*known[:1], *new]]
        joined = None
        if known:
            joined = self._join(known, folder / "before")
            inputs[keys.ANALYZER_CACHE_KEY] = [_cache_artifact(folder / "before")]
        outputs = {**outputs, keys.UPDATED_ANALYZER_CACHE_KEY: [_cache_artifact(after)]}
        self.executor.do_as_tfx(inputs, outputs, self.properties)
        if joined and span_caches.read_manifest(after / joined.name) != span_caches.read_manifest(
            joined
        ):
            raise _UselessCacheError
        return [dataclasses.replace(span, cache=span.find(after)) for span in new]

    def _join(self, known: list[_Span], cache: Path) -> Path:
        """All that is known, under the name of the first span."""
        caches = [span.cache for span in known if span.cache is not None]
        joined = cache / caches[0].name
        span_caches.join(caches, joined)
        return joined


def _cache_artifact(folder: Path) -> types.Artifact:
    artifact = standard_artifacts.TransformCache()
    artifact.uri = str(folder)
    return artifact
