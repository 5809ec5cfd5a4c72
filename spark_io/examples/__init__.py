"""From rows to files of tf.Examples."""
