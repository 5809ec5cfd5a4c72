"""Between Spark and TFX: sources, spans, tf.Examples, and how they are published."""
