"""Encodes rows as files of tf.Examples."""
