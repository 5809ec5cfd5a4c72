"""Shared names of types, contexts, properties and keys in ML Metadata.

A name that others read from a store is never changed. This module imports only the standard
library, because a step on Kubeflow reads it before it knows whether its image has TFX.
"""

from __future__ import annotations

# Types of contexts, as TFX's runners write them. A node is named PIPELINE.COMPONENT.
PIPELINE, PIPELINE_RUN, NODE = "pipeline", "pipeline_run", "node"

# Types of artifacts: TFX's own
EXAMPLES = "Examples"
EXAMPLE_STATISTICS = "ExampleStatistics"
EXAMPLE_ANOMALIES = "ExampleAnomalies"
SCHEMA = "Schema"
TRANSFORM_GRAPH = "TransformGraph"
TRANSFORM_CACHE = "TransformCache"
HYPER_PARAMETERS = "HyperParameters"
TUNER_RESULTS = "TunerResults"
MODEL = "Model"
MODEL_RUN = "ModelRun"
MODEL_EVALUATION = "ModelEvaluation"
MODEL_BLESSING = "ModelBlessing"
INFRA_BLESSING = "InfraBlessing"
PUSHED_MODEL = "PushedModel"
# and ours.
QUARANTINED_RECORDS = "QuarantinedRecords"
TOKEN_EMBEDDINGS = "TokenEmbeddings"  # noqa: S105 - a type, no secret
DECISION = "Decision"  # the threshold of a model, and how it was chosen
ONLINE_METRICS = "OnlineMetrics"  # what a version did in an hour
FEATURE_DRIFT = "FeatureDrift"
TREE_COMPARISON = "TreeComparison"  # metrics of trees on the examples of a model

# Types of executions that no component of a run makes.
SERVING = "serving."  # begins those of changes of what is live
PUSH, PROMOTION, ROLLBACK = f"{SERVING}Push", f"{SERVING}Promotion", f"{SERVING}Rollback"
ONLINE_EVALUATION, DRIFT_CHECK = "streaming.OnlineEvaluation", "streaming.DriftCheck"

# Properties of Examples.
SPAN = "span"  # the last one
SPANS = "spans"  # the first and the last one, such as 474792-474803
LABELS_AS_OF = "labels_as_of"  # outcomes before this time count, such as 2024-03-01T05:30:00Z
INPUT_FINGERPRINT = "input_fingerprint"  # only a generator's examples have one
ETL_CODE_SHA256 = "etl_code_sha256"
ROWS = "rows_"  # begins the name of each count
ROWS_READ, ROWS_QUARANTINED = f"{ROWS}read", f"{ROWS}quarantined"

# Properties of a TreeComparison.
METRIC = "metric_"  # begins the name of each metric

# Properties of a Model.
ABSENT = "absent"  # 1: a step on Kubeflow had to give a model, and there was none
WITHDRAWN = "withdrawn"  # why it was rolled back

# Properties of a Decision, which are numbers as texts, and the name of its file.
THRESHOLD, BUDGET = "threshold", "budget"
DECISION_FILE = "decision.json"

# Properties of a blessing.
BLESSED = "blessed"
CURRENT_MODEL_ID, BASELINE_MODEL_ID = "current_model_id", "baseline_model_id"

# Properties of a PushedModel.
PUSHED = "pushed"  # 0: it was not
PUSHED_VERSION, PUSHED_DESTINATION = "pushed_version", "pushed_destination"
RELEASE = "release"  # the label that it got, such as stable

# Property of an OnlineEvaluation: `evaluation`, or `at_last` by outcomes that come later.
JUDGED_BY = "judged_by"
# Properties of an OnlineMetrics: hour, arm, version, metrics as floats, counts as integers.
EVENTS = "events"  # name of the count of served events; the other counts are of some of them

# Properties of a promotion or rollback: LABEL_before and LABEL_after, withdrawn_VERSION.
BEFORE, AFTER, WITHDRAWN_VERSION = "_before", "_after", "withdrawn_"

# Properties of an execution or artifact that is recorded afterwards: when it really began, ended or
# was created, in milliseconds since the epoch. ML Metadata's own times are those of the writing.
# Records have these times instead, and not the properties; see metadata/README.md.
ACTUAL_BEGAN_MS, ACTUAL_ENDED_MS = "actual_began_ms", "actual_ended_ms"
ACTUAL_CREATED_MS = "actual_created_ms"

# Keys of inputs.
BASELINE_MODEL, CANDIDATE = "baseline_model", "candidate"  # what was compared, and no more
BASE_MODEL = "base_model"  # what a warm start began with
