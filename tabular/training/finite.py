"""Makes a number that is not finite an error of the served graph instead of a score.

NaN and infinity pass through a network unnoticed. Clipping hides them, buckets treat them as a
large or small number, and sorting puts a NaN score anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

CORRECT_THE_REQUEST = "Correct the value, or leave the example out of the request."


def check_finite(
    values: Mapping[str, tf.Tensor | tf.SparseTensor], next_step: str = CORRECT_THE_REQUEST
) -> None:
    """Adds a check to the graph that all floats in `values` are finite.

    Call it within a tf.function, which then runs the check with every call. The check takes few
    operations, whatever the number of features. The message is built only when it is needed.

    Args:
      values: Name -> dense or sparse tensor [n, ...], all of the same n examples. Tensors without
        floats are ignored.
      next_step: End of the message, with what the caller of the model can do.

    Raises:
      ValueError: While the graph is built, if the number of values per example of a dense tensor is
        unknown.
      tf.errors.InvalidArgumentError: While the graph runs, if a value is not finite. The message
        has the index of the first such example: "example 37: price must be a finite number.
        Received: nan. ..."
    """
    floats = {name: found for name, found in values.items() if found.dtype.is_floating}
    if not floats:
        return
    types = {found.dtype for found in floats.values()}
    dtype = types.pop() if len(types) == 1 else tf.float64  # holds the values of any other float
    lists = {name: found for name, found in floats.items() if isinstance(found, tf.SparseTensor)}
    dense = {name: _by_example(name, found) for name, found in floats.items() if name not in lists}
    columns = [name for name, found in dense.items() for _ in range(found.shape[1])]
    table = tf.concat([tf.cast(found, dtype) for found in dense.values()], 1) if dense else None
    numbers = [tf.cast(found.values, dtype) for found in lists.values()]
    if table is not None:
        numbers.append(tf.reshape(table, [-1]))

    def fail() -> tf.Operation:
        return _fail(columns, table, lists, dtype, next_step)

    tf.cond(tf.reduce_all(tf.math.is_finite(tf.concat(numbers, 0))), tf.no_op, fail)


def _by_example(name: str, values: tf.Tensor) -> tf.Tensor:
    """Reshapes [n, ...] to [n, numbers per example]."""
    if not values.shape[1:].is_fully_defined():
        raise ValueError(
            f"{name} must have the same, known number of values in every example. Received: shape "
            f"{values.shape}. Pass a tf.SparseTensor instead."
        )
    if values.shape.rank == 2:
        return values
    return tf.reshape(values, [-1, math.prod(values.shape[1:])])


def _fail(
    columns: list[str],
    table: tf.Tensor | None,
    lists: Mapping[str, tf.SparseTensor],
    dtype: tf.DType,
    next_step: str,
) -> tf.Operation:
    """Fails with the first example that has a number that is not finite.

    Args:
      columns: Name of each column of `table`.
      table: Numbers [n, columns]; None if there are none.
      lists: Name -> numbers.
      dtype: Common type of all numbers.
      next_step: End of the message.
    """
    examples, names, values = [], [], []
    if table is not None:
        places = tf.where(~tf.math.is_finite(table))
        examples.append(places[:, 0])
        names.append(tf.gather(tf.constant(columns), places[:, 1]))
        values.append(tf.gather_nd(table, places))
    for name, found in lists.items():
        wrong = ~tf.math.is_finite(found.values)
        examples.append(tf.boolean_mask(found.indices[:, 0], wrong))
        values.append(tf.cast(tf.boolean_mask(found.values, wrong), dtype))
        names.append(tf.fill(tf.shape(values[-1]), name))
    of_example = tf.concat(examples, 0)
    first = tf.argmin(of_example)
    value = tf.concat(values, 0)[first]
    shown = tf.where(tf.math.is_nan(value), "nan", tf.strings.as_string(value))  # never "-nan"
    text = tf.strings.join(
        [
            "example ",
            tf.strings.as_string(of_example[first]),
            ": ",
            tf.concat(names, 0)[first],
            " must be a finite number. Received: ",
            shown,
            f". {next_step}",
        ]
    )
    return tf.raw_ops.Assert(condition=False, data=[text])
