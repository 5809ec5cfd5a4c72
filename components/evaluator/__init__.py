"""The standard Evaluator, which also says why a model is not blessed; see README.md."""
