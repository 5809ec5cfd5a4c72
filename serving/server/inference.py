"""Predict, Classify, Regress and MultiInference on a loaded model.

Checks and error texts are those of tensorflow_serving/servables/tensorflow (predict_util,
classifier, regressor, multi_inference). The method name of a signature is not checked, which is
TensorFlow Serving's default (enable_signature_method_name_check).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server.errors import Code, ServingError, invalid
from serving.server.loaded_model import DEFAULT_SIGNATURE
from serving.server.tensors import check_finite, output_array, to_array, to_proto

CLASSIFY, REGRESS = tf.saved_model.CLASSIFY_METHOD_NAME, tf.saved_model.REGRESS_METHOD_NAME


class Model(Protocol):
    """A LoadedModel, or a wrapper that measures one."""

    @property
    def signatures(self) -> Mapping[str, meta_graph_pb2.SignatureDef]: ...

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]: ...


def predict(
    model: Model, spec: model_pb2.ModelSpec, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """Computes all outputs, or those of output_filter.

    Args:
      model: Model to run.
      spec: Name and version of the model, for the answer.
      request: The request.

    Raises:
      ServingError: The request does not fit the signature, the model rejects it, or an output is
        not finite.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f'Serving signature key "{name}" not found. The model has: '
            f"{', '.join(sorted(model.signatures))}.",
        )
    given = _inputs(request.inputs, signature)
    inputs = {alias: to_array(alias, given[alias], signature.inputs[alias]) for alias in given}
    outputs = _wanted_outputs(request.output_filter, signature)
    response = predict_pb2.PredictResponse(model_spec=_named(spec, name))
    for alias, array in _run(model, name, inputs, outputs).items():
        check_finite(alias, array)
        response.outputs[alias].CopyFrom(to_proto(array))
    return response


def classify(
    model: Model, spec: model_pb2.ModelSpec, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    found = _run_on_examples(model, [(name, CLASSIFY)], request.input)
    return classification_pb2.ClassificationResponse(
        model_spec=_named(spec, name), result=_classes(found[name])
    )


def regress(
    model: Model, spec: model_pb2.ModelSpec, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    found = _run_on_examples(model, [(name, REGRESS)], request.input)
    return regression_pb2.RegressionResponse(
        model_spec=_named(spec, name), result=_values(found[name])
    )


def multi_inference(
    model: Model, spec: model_pb2.ModelSpec, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Runs several signatures of one model on the same examples."""
    tasks: list[tuple[str, str]] = []
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != request.tasks[0].model_spec.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in (seen for seen, _ in tasks):
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in model.signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY, REGRESS):
            raise ServingError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        tasks.append((name, task.method_name))
    found = _run_on_examples(model, tasks, request.input)
    response = inference_pb2.MultiInferenceResponse()
    for name, method in tasks:
        result = response.results.add(model_spec=_named(spec, name))
        if method == CLASSIFY:
            result.classification_result.CopyFrom(_classes(found[name]))
        else:
            result.regression_result.CopyFrom(_values(found[name]))
    return response


def _run(
    model: Model, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns the values of each output, in the given order.

    Raises:
      ServingError: The model rejects the inputs.
    """
    try:
        found = model.run(signature, inputs, outputs)
    except (ValueError, TypeError) as error:  # TensorFlow cannot convert them to tensors
        raise invalid(f"the inputs do not fit the signature {signature}: {error}") from None
    return {alias: output_array(array) for alias, array in zip(outputs, found, strict=True)}


def _run_on_examples(
    model: Model, tasks: Sequence[tuple[str, str]], given: input_pb2.Input
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the outputs of each signature. The signatures take tf.Examples as "inputs"."""
    for name, method in tasks:
        if name not in model.signatures:
            raise invalid(f"No signature was found with the name: {name}")
        _check_signature(model.signatures[name], method)
    examples = np.array(_serialized(given), dtype=object)
    found = {}
    for name, method in tasks:
        outputs = sorted(model.signatures[name].outputs)
        found[name] = _run(model, name, {"inputs": examples}, outputs)
        for alias, array in found[name].items():
            if method == CLASSIFY:
                _check_classes(alias, array, len(examples))
            else:
                _check_values(array, len(examples))
            check_finite(alias, array)
    return found


def _check_signature(signature: meta_graph_pb2.SignatureDef, method: str) -> None:
    """Checks inputs and outputs as PreProcessClassification and PreProcessRegression do.

    Raises:
      ServingError: They are not those of the method.
    """
    kind = "classification" if method == CLASSIFY else "regression"
    outputs = set(signature.outputs)
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if method == REGRESS and len(outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if method == CLASSIFY and len(outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(outputs)}")
    if [*signature.inputs] != ["inputs"]:
        raise invalid(
            f"No {kind} inputs found in SignatureDef: the one that it has is called "
            f'"{min(signature.inputs)}", not "inputs".'
        )
    if method == REGRESS and outputs != {"outputs"}:
        raise invalid(
            f'No regression outputs found in SignatureDef: it has "{min(outputs)}", not "outputs".'
        )
    if method == CLASSIFY and not outputs & {"classes", "scores"}:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or '
            f'"scores". The signature has: {", ".join(sorted(outputs))}.'
        )


def _check_classes(alias: str, array: np.ndarray, examples: int) -> None:
    """Checks an output of a classification (PostProcessClassificationResult)."""
    if alias not in ("classes", "scores"):
        return
    if array.ndim != 2:
        raise invalid(
            f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}"
        )
    wanted, name = (object, "DT_STRING") if alias == "classes" else (np.float32, "DT_FLOAT")
    if array.dtype != wanted:
        raise invalid(f"Expected {alias} Tensor of {name}. Got: {array.dtype}")
    if array.shape[0] != examples:
        raise invalid(f"Expected {alias} output batch size of {examples}. Got: {array.shape[0]}")


def _check_values(array: np.ndarray, examples: int) -> None:
    """Checks the output of a regression (PostProcessRegressionResult)."""
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 1):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{list(array.shape)}"
        )
    if array.shape[0] != examples:
        raise invalid(
            f"Input batch size did not match output batch size: {examples} vs. {array.shape[0]}"
        )
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {array.dtype}")


def _serialized(given: input_pb2.Input) -> list[bytes]:
    """Returns the serialized examples. Their common context, if any, is prepended to each."""
    kind = given.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in given.example_list.examples]
    elif kind == "example_list_with_context":
        listed = given.example_list_with_context
        # Protobuf merges concatenated messages, and the later value of a feature wins.
        context = listed.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in listed.examples]
    else:
        examples = []
    if not examples:
        raise invalid("Input is empty.")
    return examples


def _classes(outputs: Mapping[str, np.ndarray]) -> classification_pb2.ClassificationResult:
    labels, scores = outputs.get("classes"), outputs.get("scores")
    if labels is not None and scores is not None and labels.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{labels.shape[1]} vs. {scores.shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    rows, width = (labels if labels is not None else scores).shape  # type: ignore[union-attr]
    for row in range(rows):
        added = result.classifications.add()
        for column in range(width):
            found = added.classes.add()
            if labels is not None:
                found.label = labels[row, column].decode("utf-8", "replace")
            if scores is not None:
                found.score = float(scores[row, column])
    return result


def _values(outputs: Mapping[str, np.ndarray]) -> regression_pb2.RegressionResult:
    result = regression_pb2.RegressionResult()
    for value in outputs["outputs"].reshape(-1).tolist():
        result.regressions.add(value=value)
    return result


def _inputs(
    given: Mapping[str, tensor_pb2.TensorProto], signature: meta_graph_pb2.SignatureDef
) -> dict[str, tensor_pb2.TensorProto]:
    """Returns the tensor of each input: the sent one, else the signature's default.

    Raises:
      ServingError: An input is missing or unknown.
    """
    defaults = signature.defaults
    sent, wanted = set(given), set(signature.inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(sorted(wanted))}}}). Sent "
            f"extra: {{{','.join(sorted(sent - wanted))}}}. Missing but required: "
            f"{{{','.join(sorted(wanted - sent))}}}."
        )
    missing = wanted - sent - set(defaults)
    if sent - wanted or missing:
        raise invalid(
            f"input tensor alias not found in signature: {min(sent - wanted or missing)}. Inputs "
            f"expected to be in the set {{{','.join(sorted(wanted))}}}."
        )
    return {alias: given[alias] if alias in sent else defaults[alias] for alias in sorted(wanted)}


def _wanted_outputs(chosen: Sequence[str], signature: meta_graph_pb2.SignatureDef) -> list[str]:
    every = sorted(signature.outputs)
    for alias in chosen:
        if alias not in every:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{','.join(every)}}}."
            )
    if len(set(chosen)) < len(chosen):
        raise invalid(
            "duplicate output tensor alias: "
            f"{next(alias for alias in chosen if list(chosen).count(alias) > 1)}"
        )
    return [*chosen] or every


def _named(spec: model_pb2.ModelSpec, signature: str) -> model_pb2.ModelSpec:
    named = model_pb2.ModelSpec()
    named.CopyFrom(spec)
    named.signature_name = signature
    return named
