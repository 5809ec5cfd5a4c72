"""Settings of Spark for little data, such as a sample."""

# Compiling code for each query takes Spark longer than to read some ten thousand rows.
SMALL_DATA = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1",
}
