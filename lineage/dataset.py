"""Reads the data behind a model: row accounts, source files and rejected rows.

SparkExampleGen keeps the counts as properties of its Examples artifact. `manifest.json` at the
artifact's URI has the details, down to the checksum of each source file. The properties stay in
the store; the manifest may disappear with the artifact's folder.

Any other ExampleGen (CsvExampleGen, an Importer) counts no rows and writes no manifest, so theirs
are not recorded rather than lost. `is_ours` tells the two cases apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.foreign_json import parse
from base.shared_names import EXAMPLES_MANIFEST
from metadata import names
from metadata.artifact_files import local_path
from metadata.records import Artifact, Execution

# Properties that SparkExampleGen adds to its Examples; TFX's own components have none of them.
_MARKS = frozenset({names.ROWS_QUARANTINED, names.ETL_CODE_SHA256})
GONE = "gone from disk"  # a manifest that SparkExampleGen wrote
_NO_MANIFEST = "not recorded: only SparkExampleGen writes one"
_NO_SPLITS = ("read", "quarantined", "dropped")


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """A source file; `path` is relative to the data set's `input_base`."""

    path: str
    bytes: int
    checksum: str


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of the ETL; `kind` is 'file', 'jdbc', 'kafka' or 'table'.

    `rows_read` and `files` come from the manifest; without one they are None and ().
    """

    name: str
    format: str
    pattern: str
    rows_read: int | None
    files: tuple[SourceFile, ...]
    kind: str = "file"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclasses.dataclass(frozen=True)
class Accounts:
    """The row accounts: read = splits + quarantined + dropped.

    Attributes:
      read: Rows read from the primary source.
      splits: Split -> number of examples.
      quarantined: Rejected rows of the primary source.
      dropped: Rows that the ETL left out on purpose, such as duplicates.
      adds_up: Whether both sides are equal.
      exact: Whether they must be equal; False for an ETL that aggregates (row_accounting: off).
      differs: One line for each number that differs in the manifest; empty without a manifest.
    """

    read: int
    splits: dict[str, int]
    quarantined: int
    dropped: int
    adds_up: bool
    exact: bool
    differs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An Examples artifact that came from outside the pipeline.

    Attributes:
      examples: The artifact.
      run_id: Id of the run that made it.
      span: Last span in it; None if it has none.
      spans: First and last span, e.g. '474792-474839'.
      input_fingerprint: Fingerprint of the files that were read.
      etl: Dotted path of the ETL function.
      etl_code_sha256: SHA-256 of the ETL's source code.
      accounts: Row accounts; None if no rows were counted, as by any other ExampleGen.
      quarantined_reasons: Source -> reason -> rows.
      dropped_reasons: Reason -> rows.
      quarantine: Artifact with the rejected rows.
      statistics: ExampleStatistics of these examples, newest first.
      manifest: Path or URI of the manifest; '' if none was ever written.
      manifest_problem: Why the manifest could not be read; None if it could.
      input_base: Folder that the source files are relative to.
      sources: Sources, the primary one first.
      is_ours: Whether SparkExampleGen made it; other ExampleGens record neither rows nor sources.
      labels_as_of: Time (UTC) up to which outcomes count; None if the labels wait for none.
    """

    examples: Artifact
    run_id: str
    span: int | None
    spans: str | None
    input_fingerprint: str | None
    etl: str | None
    etl_code_sha256: str | None
    accounts: Accounts | None
    quarantined_reasons: dict[str, dict[str, int]]
    dropped_reasons: dict[str, int]
    quarantine: Artifact | None
    statistics: tuple[Artifact, ...]
    manifest: str
    manifest_problem: str | None
    input_base: str | None
    sources: tuple[Source, ...]
    is_ours: bool = True
    labels_as_of: str | None = None

    @property
    def lost_manifest(self) -> bool:
        """Returns whether SparkExampleGen wrote a manifest that cannot be read here now."""
        return self.is_ours and self.manifest_problem is not None


def is_ours(examples: Artifact) -> bool:
    """Returns whether SparkExampleGen made these examples, judged by their properties.

    No other component writes counts or a manifest, so only here can they be lost.
    """
    counted = isinstance(examples.properties.get(names.ROWS_READ), int)
    return counted and not _MARKS.isdisjoint(examples.properties)


def read_dataset(
    examples: Artifact,
    maker: Execution | None,
    quarantine: Artifact | None = None,
    statistics: tuple[Artifact, ...] = (),
) -> Dataset:
    """Combines what the store and the manifest, if it still exists, know about examples."""
    parameters = maker.properties if maker else {}
    properties = examples.properties if is_ours(examples) else {}
    location, manifest, problem = _read_manifest(examples)
    try:
        accounts, sources = _accounts(properties, parameters, manifest), _sources(manifest)
    except (AttributeError, KeyError, TypeError, ValueError):
        manifest, problem = {}, "has another form than SparkExampleGen writes"
        accounts, sources = _accounts(properties, parameters, manifest), ()
    return Dataset(
        examples=examples,
        run_id=maker.run_id if maker else "",
        span=_whole_number(examples.properties.get(names.SPAN)),
        spans=properties.get(names.SPANS),
        input_fingerprint=examples.properties.get(names.INPUT_FINGERPRINT),
        etl=properties.get("etl"),
        etl_code_sha256=properties.get(names.ETL_CODE_SHA256),
        accounts=accounts,
        quarantined_reasons=_object(properties.get("quarantined_reasons")),
        dropped_reasons=_object(properties.get("dropped_reasons")),
        quarantine=quarantine,
        statistics=statistics,
        manifest=location,
        manifest_problem=problem,
        input_base=manifest.get("input_base") or parameters.get("input_base"),
        sources=sources or (_declared_sources(parameters) if properties else ()),
        is_ours=is_ours(examples),
        labels_as_of=properties.get(names.LABELS_AS_OF),
    )


def kept_manifest(folder: Path) -> Path:
    """Returns where the manifest of examples is kept when their folder is deleted."""
    return folder.parent / ".manifests" / f"{folder.name}.json"


def _read_manifest(examples: Artifact) -> tuple[str, dict[str, Any], str | None]:
    """Returns location, content ({} if unreadable) and problem (None if readable)."""
    if not is_ours(examples):
        return "", {}, _NO_MANIFEST
    name = examples.properties.get("manifest", EXAMPLES_MANIFEST)
    location = f"{examples.uri.rstrip('/')}/{name}"
    path = local_path(location)
    if path is None:
        return location, {}, "not on this machine"
    try:
        if not path.exists() and kept_manifest(path.parent).exists():
            path = kept_manifest(path.parent)
            location = str(path)
        content = parse(path.read_text("utf-8"), finite=False)
    except FileNotFoundError:
        return location, {}, GONE
    except OSError as error:
        return location, {}, f"cannot be read: {error.strerror}"
    except ValueError:
        return location, {}, "is not valid JSON"
    if not isinstance(content, dict):
        return location, {}, "is not a manifest"
    return location, content, None


def _accounts(
    properties: Mapping[str, Any], parameters: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Accounts | None:
    counts = {
        name[len(names.ROWS) :]: value
        for name, value in properties.items()
        if name.startswith(names.ROWS) and isinstance(value, int)
    }
    if "read" not in counts:
        return None
    splits_first = sorted(counts.keys() - set(_NO_SPLITS), key=lambda name: (name != "train", name))
    splits = {name: counts[name] for name in splits_first}
    quarantined, dropped = counts.get("quarantined", 0), counts.get("dropped", 0)
    return Accounts(
        read=counts["read"],
        splits=splits,
        quarantined=quarantined,
        dropped=dropped,
        adds_up=counts["read"] == sum(splits.values()) + quarantined + dropped,
        exact=parameters.get("row_accounting", "exact") == "exact",
        differs=tuple(_differences(counts, properties, manifest)) if manifest else (),
    )


def _differences(
    counts: Mapping[str, int], properties: Mapping[str, Any], manifest: Mapping[str, Any]
) -> list[str]:
    """Returns one line for each number that differs between the store and the manifest."""
    rows = manifest.get("rows", {})
    theirs = {name: rows.get(name) for name in _NO_SPLITS} | dict(rows.get("splits", {}))
    differs = [
        f"{name}: {counts.get(name)} in the store, {theirs.get(name)} in the manifest"
        for name in [*counts, *sorted(theirs.keys() - counts.keys())]
        if counts.get(name) != theirs.get(name)
    ]
    for split, files in manifest.get("splits", {}).items():
        in_files = sum(file.get("rows", 0) for file in files)
        if in_files != counts.get(split):
            differs.append(f"{split}: {counts.get(split)} in the store, {in_files} in its files")
    told = {
        names.INPUT_FINGERPRINT: manifest.get("input_fingerprint"),
        names.ETL_CODE_SHA256: manifest.get("etl", {}).get("code_sha256"),
    }
    differs += [
        f"{name}: another one in the manifest"
        for name, value in told.items()
        if value != properties.get(name)
    ]
    return differs


def _sources(manifest: Mapping[str, Any]) -> tuple[Source, ...]:
    return tuple(
        Source(
            name=source["name"],
            format=_format(source),
            pattern=_pattern(source),
            rows_read=source.get(names.ROWS_READ),
            files=_files(source),
            kind=source.get("kind", "file"),
        )
        for source in manifest.get("sources", ())
    )


def _files(source: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    if source.get("kind", "file") != "file":
        return ()
    return tuple(SourceFile(f["path"], f["bytes"], f["checksum"]) for f in source["files"])


def _format(source: Mapping[str, Any]) -> str:
    """Returns the file format, or for other sources their kind: jdbc, kafka, table."""
    return str(source.get("format") or source.get("kind", ""))


def _pattern(source: Mapping[str, Any]) -> str:
    """Returns the path, table, query or topic of a source, with a topic's offsets."""
    text = next((source[k] for k in ("path", "table", "query", "topic") if source.get(k)), "")
    offsets = [f"{p}: {a}-{b}" for p, (a, b) in source.get("offsets", {}).items()]
    return f"{text} (offsets {', '.join(offsets)})" if offsets else str(text)


def _declared_sources(parameters: Mapping[str, Any]) -> tuple[Source, ...]:
    """Returns the sources that SparkExampleGen was configured to read, for a missing manifest."""
    try:
        return tuple(
            Source(
                source["name"],
                _format(source),
                _pattern(source),
                None,
                (),
                source.get("kind", "file"),
            )
            for source in parse(parameters.get("sources", "[]"), finite=False)
            for name in (source["name"],)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return ()  # another ExampleGen has a parameter of that name


def _whole_number(value: Any) -> int | None:
    """Returns a number that may be stored as text, as TFX before 0.27 stored spans."""
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) else None


def _object(text: Any) -> dict[str, Any]:
    try:
        found = parse(text, finite=False)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
