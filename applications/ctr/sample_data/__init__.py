"""Input for the pipelines: a click-log simulator whose truth is known, and MovieLens 100k."""
