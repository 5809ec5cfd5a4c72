"""Calls TFX's executor with all analyzed spans of a window as one dataset; see README.md."""

from __future__ import annotations

import copy
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

_AT_ONCE = 6  # spans without a cache per call, since their stages are in memory together
_ANALYZED = "train"  # the split that Transform analyzes by default

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Span:
    examples: types.Artifact
    cache: Path | None  # folder of its analyzer cache


class _UselessCacheError(Exception):
    """TFX tried to read examples that a cache was meant to replace."""


class _NoCacheError(Exception):
    """TFX wrote no cache, because of hundreds of analyzers or one that cannot be cached."""


class TransformExecutor(executor.Executor):
    """TFX's executor, except that it joins caches if it writes one with default splits."""

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
                _log.warning("TFX cannot cache these analyzers, so all spans are analyzed at once")
                super().Do(input_dict, output_dict, exec_properties)
                return
            cache = Path(artifact_utils.get_single_uri(written))
            cache.mkdir(parents=True, exist_ok=True)
            for span in found:
                if span.cache is not None:
                    shutil.copytree(span.cache, cache / span.cache.name)

    def _analyze(self, window: _Window, folder: Path) -> list[_Span]:
        spans = window.spans()
        if any(span.cache is not None for span in spans):
            try:
                return window.analyze(spans, folder / "run")
            except _UselessCacheError:
                _log.warning("the preprocessing has changed, so all spans are analyzed again")
        spans = [dataclasses.replace(span, cache=None) for span in spans]
        try:
            return window.analyze(spans, folder / "anew")
        except _UselessCacheError:  # even what was made a moment ago
            raise _NoCacheError from None

    def do_as_tfx(self, *arguments: Any) -> None:
        """Runs the standard Transform."""
        super().Do(*arguments)


@dataclasses.dataclass(frozen=True)
class _Window:
    """The arguments of one execution."""

    executor: TransformExecutor
    inputs: dict[str, list[types.Artifact]]
    outputs: dict[str, list[types.Artifact]]
    properties: dict[str, Any]

    def spans(self) -> list[_Span]:
        """Returns all spans of the window, with their usable caches."""
        given = [_Span(examples, None) for examples in self.inputs[keys.EXAMPLES_KEY]]
        caches = self.inputs.get(keys.ANALYZER_CACHE_KEY)
        if not caches:
            return given
        cache = Path(artifact_utils.get_single_uri(caches))
        found = [_dataset(cache, span.examples) for span in given]
        good = span_caches.usable(found)
        return [
            dataclasses.replace(span, cache=one if fits else None)
            for span, one, fits in zip(given, found, good, strict=True)
        ]

    def analyze(self, spans: Sequence[_Span], folder: Path) -> list[_Span]:
        """Makes the transform graph; returns the spans, with their caches.

        Raises:
          _UselessCacheError: those that the spans came with, or that it made, are of no use.
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
        inputs = {k: given for k, given in self.inputs.items() if k != keys.ANALYZER_CACHE_KEY}
        inputs[keys.EXAMPLES_KEY] = [span.examples for span in new]
        if known:
            stand_in = _stand_in(known[0].examples, folder / "known")
            caches = [span.cache for span in known if span.cache is not None]
            span_caches.join(caches, _dataset_folder(folder / "before", stand_in))
            inputs[keys.EXAMPLES_KEY].insert(0, stand_in)
            inputs[keys.ANALYZER_CACHE_KEY] = [_cache_artifact(folder / "before")]
        outputs = {**outputs, keys.UPDATED_ANALYZER_CACHE_KEY: [_cache_artifact(after)]}
        try:
            self.executor.do_as_tfx(inputs, outputs, self.properties)
        except OSError as error:
            if known and stand_in.uri in str(error):
                raise _UselessCacheError from error
            raise
        return [dataclasses.replace(span, cache=_dataset(after, span.examples)) for span in new]


def _stand_in(examples: types.Artifact, folder: Path) -> types.Artifact:
    """Returns a copy of the artifact without files, so that TFX fails if it reads them."""
    found = copy.deepcopy(examples)
    found.uri = str(folder)
    return found


def _dataset(cache: Path, examples: types.Artifact) -> Path | None:
    folder = _dataset_folder(cache, examples)
    return folder if folder.is_dir() else None


def _dataset_folder(cache: Path, examples: types.Artifact) -> Path:
    """Returns the folder of these examples in a cache, by TFX's own name."""
    (split,) = artifact_utils.get_split_uris([examples], _ANALYZED)
    pattern = io_utils.all_files_pattern(split)
    return cache / executor._Dataset(pattern, "", 0, None).dataset_key.key


def _cache_artifact(folder: Path) -> types.Artifact:
    artifact = standard_artifacts.TransformCache()
    artifact.uri = str(folder)
    return artifact
