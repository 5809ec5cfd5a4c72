"""TFX's ImportSchemaGen, for a schema that people edit; see README.md."""
