"""The standard Transform, for windows of many spans; see README.md."""
