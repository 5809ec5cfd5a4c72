"""The pipelines on little data."""

# Small, and still enough for a model that beats chance: two minutes on two cores.
SMALL = (
    "--set=sample_data={impressions: 24000, hours: 12, seed: 5, items: 120}",
    "--set=spans.window=12",
    "--set=evaluator.thresholds.auc={min: 0.55, max_worse: 0.2}",
    "--set=evaluator.thresholds.calibration={min: 0.5, max: 2}",
    "--set=trainer.decision={budget: 0.05, costs: {review: 1, missed: 12}}",
    "--set=evaluator.metrics=[auc, auc_pr, log_loss, calibration, ece, decision_precision,"
    " decision_recall, decision_share, decision_cost]",
    # Compiling code for each query takes Spark longer than these few rows; MovieLens compiles it.
    "--set=spark.conf={spark.sql.codegen.wholeStage: 'false',"
    " spark.sql.codegen.factoryMode: NO_CODEGEN,"
    " spark.driver.defaultJavaOptions: '-XX:TieredStopAtLevel=1'}",
)
# For little data the workers of a run do not pay, least of all with other tests beside it.
ONE_PROCESS = "--set=beam_pipeline_args=[--direct_num_workers=1, --sdk_container_image=none]"
