"""The learning rate over the steps of a run: linear warm-up, then a cosine down to a tenth."""

from __future__ import annotations

import math

import tensorflow as tf
import tf_keras as keras

FLOOR = 0.1


class WarmUpCosineDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Loshchilov and Hutter, "SGDR" (2017), one cycle, after a linear warm-up.

    Warm-up keeps Adam's first steps small, while its second moments are those of a few batches.

    Args:
      peak: learning rate after the warm-up.
      warm_up_steps: from 0 to the peak; 0 for none.
      steps: of the whole run; from there on the rate stays at a tenth of the peak.
    """

    def __init__(self, peak: float, warm_up_steps: int, steps: int):
        self.peak, self.warm_up_steps, self.steps = peak, warm_up_steps, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        warm_up = (step + 1) / max(1, self.warm_up_steps)
        after = (step - self.warm_up_steps) / max(1, self.steps - self.warm_up_steps)
        cosine = 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(after, 0.0, 1.0)))
        return self.peak * tf.minimum(warm_up, FLOOR + (1 - FLOOR) * cosine)

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "warm_up_steps": self.warm_up_steps, "steps": self.steps}
