"""Names of files that one part of the project writes and another part reads.

Names that only one folder uses are defined there, and names in ML Metadata in metadata/.
"""

from __future__ import annotations

# Below the run folder of a pipeline. local_run writes them; lineage and streaming read them.
RUNS_FOLDER = "runs"  # holds a folder for each run, named by the run's id
RUN_SUMMARY, RUN_REPORT, RUN_LOG = "run_summary.json", "report.html", "run.log"
RUN_LOCK = ".lock"  # held while a pipeline runs, also beside a shared metadata store

# In an Examples artifact. spark_io writes it; lineage reads it.
EXAMPLES_MANIFEST = "manifest.json"

# In a ModelRun artifact. The Trainer writes it; run summaries and reports read it.
TRAINING_FACTS = "training.json"

# In a ModelEvaluation artifact. The Evaluator writes it; lineage reads it.
EVALUATION_VERDICT = "verdict.json"

# In the folder of a model's versions. The Pusher and releases write them; servers read them.
MODELS_CONFIG = "models.config"  # the live versions
VERSIONS_LOCK = ".lock"  # held while they change

# In the folder of one version.
WITHDRAWN_MARK = "WITHDRAWN"  # says why the version must not become live again
ASSETS_EXTRA = "assets.extra"  # files beside the model
WARM_UP_FILE = f"{ASSETS_EXTRA}/tf_serving_warmup_requests"  # read by TensorFlow Serving

# Prefix of the request log's file for the current hour, which hides it from Spark.
# The server writes it; serving and streaming read it.
OPEN_HOUR_PREFIX = ".open-"
