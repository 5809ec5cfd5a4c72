"""Predict, Classify, Regress and MultiInference on a loaded model; as TensorFlow Serving does.

Method names, checks and texts are those of tensorflow_serving/servables/tensorflow (predict_util,
classifier, regressor, multi_inference).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
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
from serving.server.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from serving.server.tensors import check_finite, to_array, to_proto

CLASSIFY, REGRESS = tf.saved_model.CLASSIFY_METHOD_NAME, tf.saved_model.REGRESS_METHOD_NAME


def predict(
    model: LoadedModel, spec: model_pb2.ModelSpec, request: predict_pb2.PredictRequest
) -> predict_pb2.PredictResponse:
    """All outputs, or those of output_filter; `spec` is what answers.

    Raises:
      ServingError: the request does not fit the signature, the model refuses it, or what the model
        answers is not finite.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f'Serving signature key "{name}" not found; the model has: '
            f"{', '.join(sorted(model.signatures))}.",
        )
    _check_inputs(request.inputs, signature)
    inputs = {
        alias: to_array(alias, request.inputs[alias], info)
        for alias, info in signature.inputs.items()
    }
    outputs = _wanted_outputs(request.output_filter, signature)
    response = predict_pb2.PredictResponse(model_spec=_named(spec, name))
    for alias, array in zip(outputs, model.run(name, inputs, outputs), strict=True):
        check_finite(alias, array)
        response.outputs[alias].CopyFrom(to_proto(array))
    return response


def classify(
    model: LoadedModel, spec: model_pb2.ModelSpec, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    found = _run_on_examples(model, [(name, CLASSIFY)], request.input)
    return classification_pb2.ClassificationResponse(
        model_spec=_named(spec, name), result=_classes(found[name])
    )


def regress(
    model: LoadedModel, spec: model_pb2.ModelSpec, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    found = _run_on_examples(model, [(name, REGRESS)], request.input)
    return regression_pb2.RegressionResponse(
        model_spec=_named(spec, name), result=_values(found[name])
    )


def multi_inference(
    model: LoadedModel, spec: model_pb2.ModelSpec, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
    """Several signatures of one model on the same examples."""
    if len({task.model_spec.name for task in request.tasks}) > 1:
        raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    tasks = [
        (task.model_spec.signature_name or DEFAULT_SIGNATURE, task.method_name)
        for task in request.tasks
    ]
    seen: set[str] = set()
    for name, method in tasks:
        if method not in (CLASSIFY, REGRESS):
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
        if name in seen:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
    found = _run_on_examples(model, tasks, request.input)
    response = inference_pb2.MultiInferenceResponse()
    for name, method in tasks:
        result = response.results.add(model_spec=_named(spec, name))
        if method == CLASSIFY:
            result.classification_result.CopyFrom(_classes(found[name]))
        else:
            result.regression_result.CopyFrom(_values(found[name]))
    return response


def _run_on_examples(
    model: LoadedModel, tasks: Sequence[tuple[str, str]], given: input_pb2.Input
) -> dict[str, dict[str, np.ndarray]]:
    """Signature -> its outputs, of signatures that take serialized tf.Examples as "inputs"."""
    for name, method in tasks:
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid(f"No signature was found with the name: {name}")
        if signature.method_name != method:
            kind = "classification" if method == CLASSIFY else "regression"
            raise invalid(
                f"Expected {kind} signature method_name to be {method}. "
                f"Was: {signature.method_name}"
            )
        if [*signature.inputs] != ["inputs"]:
            raise ServingError(
                Code.FAILED_PRECONDITION, f'signature {name} has no single input named "inputs"'
            )
    examples = np.array(_serialized(given), dtype=object)
    found = {}
    for name, _ in tasks:
        outputs = sorted(model.signatures[name].outputs)
        arrays = model.run(name, {"inputs": examples}, outputs)
        found[name] = dict(zip(outputs, arrays, strict=True))
        for alias, array in found[name].items():
            if array.ndim == 0 or array.shape[0] != len(examples):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"output {alias} has shape {list(array.shape)} for {len(examples)} examples",
                )
            check_finite(alias, _as_sent(array))
    return found


def _as_sent(array: np.ndarray) -> np.ndarray:
    """The output as a Classification or a Regression holds it: their floats have 32 bits."""
    if array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _serialized(given: input_pb2.Input) -> list[bytes]:
    """The examples; what all have in common, the context, goes before each."""
    kind = given.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in given.example_list.examples]
    elif kind == "example_list_with_context":
        listed = given.example_list_with_context
        # Serialized messages that follow each other are merged, and the later feature counts.
        context = listed.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in listed.examples]
    else:
        examples = []
    if not examples:
        raise invalid("Input is empty.")
    return examples


def _classes(outputs: Mapping[str, np.ndarray]) -> classification_pb2.ClassificationResult:
    labels, scores = outputs.get("classes"), outputs.get("scores")
    if labels is None and scores is None:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            'Expected classification signature outputs to contain at least one of "classes" or '
            '"scores".',
        )
    for array in (labels, scores):
        if array is not None and array.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}"
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
    values = outputs.get("outputs")
    if values is None:
        raise ServingError(
            Code.FAILED_PRECONDITION, 'No regression outputs found: expected "outputs".'
        )
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 1):
        raise invalid(
            f"Expected Tensor shape either [batch_size] or [batch_size, 1] but got "
            f"{list(values.shape)}"
        )
    result = regression_pb2.RegressionResult()
    for value in values.reshape(-1).tolist():
        result.regressions.add(value=value)
    return result


def _check_inputs(given: Mapping[str, object], signature: meta_graph_pb2.SignatureDef) -> None:
    sent, wanted = set(given), set(signature.inputs)
    if len(sent) == len(wanted) and sent != wanted:
        raise invalid(
            f"input tensor alias not found in signature: {min(sent - wanted)}. Inputs expected to "
            f"be in the set {{{','.join(sorted(wanted))}}}."
        )
    if sent != wanted:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} "
            f"len({{{','.join(sorted(sent))}}}) != len({{{','.join(sorted(wanted))}}}). Sent "
            f"extra: {{{','.join(sorted(sent - wanted))}}}. Missing but required: "
            f"{{{','.join(sorted(wanted - sent))}}}."
        )


def _wanted_outputs(chosen: Sequence[str], signature: meta_graph_pb2.SignatureDef) -> list[str]:
    every = sorted(signature.outputs)
    for alias in chosen:
        if alias not in every:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{','.join(every)}}}."
            )
    if len(set(chosen)) < len(chosen):
        raise invalid("duplicate output tensor alias")
    return [*chosen] or every


def _named(spec: model_pb2.ModelSpec, signature: str) -> model_pb2.ModelSpec:
    named = model_pb2.ModelSpec()
    named.CopyFrom(spec)
    named.signature_name = signature
    return named
