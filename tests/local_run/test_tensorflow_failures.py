"""A failure of TensorFlow becomes one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.failures import one_line

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = f"{ROOT}/.venv/lib/python3.10/site-packages"


@pytest.fixture(autouse=True)
def project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


# What TensorFlow 2.15 says, word for word.
TENSORFLOW = {
    "of an operation that runs at once": (
        "{{function_node __wrapped__GatherV2_device_/job:localhost/device:CPU:0}} "
        "indices[0] = 5 is not in [0, 2) [Op:GatherV2]",
        "indices[0] = 5 is not in [0, 2)",
    ),
    "of a graph": (
        "Graph execution error:\n\n"
        "Detected at node GatherV2 defined at (most recent call last):\n"
        f'  File "{LIBRARY}/tf_keras/src/engine/training.py", line 18, in fit\n\n'
        f'  File "{ROOT}/tabular/embedding_tables.py", line 70, in call\n\n'
        "indices[0] = 5 is not in [0, 2)\n"
        "\t [[{{node GatherV2}}]] [Op:__inference_g_11]",
        "indices[0] = 5 is not in [0, 2) (tabular/embedding_tables.py, line 70)",
    ),
    "of a graph whose nodes are not known": (
        "Graph execution error:\n\n"
        "Detected at node mul defined at (most recent call last):\n"
        "<stack traces unavailable>\n"
        "2 root error(s) found.\n"
        "  (0) INVALID_ARGUMENT:  Incompatible shapes: [3] vs. [4]\n"
        "\t [[{{node mul}}]]\n",
        "Incompatible shapes: [3] vs. [4]",
    ),
    "of a data set": (
        "{{function_node __wrapped__IteratorGetNext_output_types_1_device_/job:localhost}} "
        "corrupted record at 0 (Is this even a TFRecord file?) [Op:IteratorGetNext] name: ",
        "corrupted record at 0 (Is this even a TFRecord file?)",
    ),
    "of a function that is made into a graph": (
        "in user code:\n\n"
        f'    File "{ROOT}/tabular/preprocessing.py", line 34, in preprocessing_fn  *\n'
        "        return tf.nope(x)\n"
        f'    File "{LIBRARY}/tf_keras/src/engine/training.py", line 70, in error_handler\n'
        "        raise e.with_traceback(filtered_tb) from None\n\n"
        "    ValueError: Exception encountered when calling layer 'dense' (type Dense).\n"
        "    \n"
        '    Input 0 of layer "dense" is incompatible with the layer: expected axis -1\n',
        'Input 0 of layer "dense" is incompatible with the layer: expected axis -1 '
        "(tabular/preprocessing.py, line 34)",
    ),
}


@pytest.mark.parametrize(("message", "line"), TENSORFLOW.values(), ids=TENSORFLOW.keys())
def test_an_error_of_tensorflow_is_the_line_that_says_what_is_wrong(
    message: str, line: str
) -> None:
    assert one_line(ValueError(message)) == f"ValueError: {line}; the log has the whole trace"
