"""DeepCTR's models on arrays: `python deepctr_peer.py JSON`, in the environment of deepctr.txt.

Imports nothing of this project. JSON: {"arrays": file of .npz, "model", "optimizer", "rate",
"batch_size", "epochs", "patience", "deep_layers", "widths", "fit_only"}; the last line it prints is
the answer. See prepared_data.write_arrays for what is in the file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr.models import DCN, DIN, WDL, DeepFM
from sklearn.metrics import log_loss, roc_auc_score

DENSE = "dense_xf"
COMMON_WIDTH = 16  # of DeepFM, whose fields are equally wide


def main(wanted: dict[str, Any]) -> dict[str, Any]:
    arrays = np.load(wanted["arrays"])
    splits = {
        split: {
            name.partition("/")[2]: arrays[name]
            for name in arrays.files
            if name.startswith(f"{split}/")
        }
        for split in ("train", "eval", "test")
    }
    sizes = {name.partition("/")[2]: int(arrays[name]) for name in arrays.files if "sizes/" in name}
    label, shared = str(arrays["label"]), dict(arrays["shared"].tolist())
    model, inputs = build(wanted, sizes, splits["train"], shared)
    optimizer = {"adam": tf.keras.optimizers.Adam, "adagrad": tf.keras.optimizers.Adagrad}
    model.compile(optimizer[wanted["optimizer"]](wanted["rate"]), "binary_crossentropy")

    def rows(split: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        columns = splits[split]
        return {name: columns[source] for name, source in inputs.items()}, columns[label]

    options = {"batch_size": wanted["batch_size"], "verbose": 0}
    x, y = rows("train")
    if wanted["fit_only"]:
        model.fit(x, y, epochs=1, **options)
        started = time.monotonic()
        model.fit(x, y, epochs=1, **options)
        return {"rows_per_second": len(y) / (time.monotonic() - started)}
    started = time.monotonic()
    stop = tf.keras.callbacks.EarlyStopping(patience=wanted["patience"], restore_best_weights=True)
    history = model.fit(
        x,
        y,
        epochs=wanted["epochs"],
        validation_data=rows("eval"),
        callbacks=[stop],
        **options,
    )
    seconds = time.monotonic() - started
    x, y = rows("test")
    probability = model.predict(x, batch_size=8192, verbose=0)[:, 0].astype(np.float64)
    return {
        "auc": float(roc_auc_score(y, probability)),
        "log_loss": float(log_loss(y, probability)),
        "calibration": float(probability.mean() / y.mean()),
        "eval_log_loss": float(min(history.history["val_loss"])),
        "seconds": seconds,
    }


def build(
    wanted: dict[str, Any],
    sizes: dict[str, int],
    train: dict[str, np.ndarray],
    shared: dict[str, str],
) -> tuple[Any, dict[str, str]]:
    """The model, and which of our columns each of its inputs is."""
    name, widths = wanted["model"], wanted["widths"]
    if name == "deepfm":
        widths = dict.fromkeys(sizes, COMMON_WIDTH)
    sparse = [SparseFeat(n, size, embedding_dim=widths[n]) for n, size in sizes.items()]
    columns = [*sparse, DenseFeat(DENSE, train[DENSE].shape[1])]
    inputs = {n: n for n in [*sizes, DENSE]}
    deep = tuple(wanted["deep_layers"])
    if name == "wide_deep":
        return WDL(columns, columns, dnn_hidden_units=deep), inputs
    if name == "deepfm":
        return DeepFM(columns, columns, dnn_hidden_units=deep), inputs
    if name == "dcn":
        crosses = {"cross_num": 2, "cross_parameterization": "matrix"}
        return DCN(columns, columns, dnn_hidden_units=deep, **crosses), inputs
    # din: its index 0 is no event, so all of the shared indices are one higher
    plain = [feature for feature in sparse if feature.name not in shared]
    for feature, recent in shared.items():
        size, width = sizes[feature] + 1, widths[feature]
        plain.append(SparseFeat(f"{feature}_1", size, width, embedding_name=feature))
        history = SparseFeat(f"hist_{feature}_1", size, width, embedding_name=feature)
        plain.append(VarLenSparseFeat(history, maxlen=train[recent].shape[1]))
        inputs |= {f"{feature}_1": f"{feature}/1", f"hist_{feature}_1": f"{recent}/1"}
        del inputs[feature]
    dense = DenseFeat(DENSE, train[DENSE].shape[1])
    features = [f"{feature}_1" for feature in shared]
    return DIN([*plain, dense], features, dnn_hidden_units=deep), inputs


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
