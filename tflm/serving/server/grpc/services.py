"""The gRPC interface: PredictionService and ModelService, with the published messages.

After TensorFlow Serving's `servables/tensorflow/predict_util.cc` and `model_servers/*_service_impl.cc`.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tflm.errors import UserError
from tflm.serving.runtime.cancellation import Cancellation
from tflm.serving.server.core import examples
from tflm.serving.server.core.admission import InFlightLimit
from tflm.serving.server.core.manager import ModelManager
from tflm.serving.server.core.model_config import base_paths, model_configs
from tflm.serving.server.core.servable import DEFAULT_SIGNATURE, array_of, tensor_of
from tflm.serving.server.core.status import ServingError, invalid
from tflm.serving.server.grpc.inference import (
    add_classes,
    add_values,
    multi_inference,
    serialised,
    spec_of,
    which,
)

_Response = TypeVar("_Response")
_LONGEST_MESSAGE = 1024
_log = logging.getLogger(__name__)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers requests with the models of a manager."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager, self._in_flight_limit = manager, InFlightLimit(manager.options.max_requests)

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        return self._in_place(context, lambda cancellation: self._predict(request, cancellation))

    def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Labels of `tf.train.Example` messages."""

        def work(cancellation: Cancellation) -> classification_pb2.ClassificationResponse:
            with _used(self._manager, request.model_spec) as servable:
                name = request.model_spec.signature_name or DEFAULT_SIGNATURE
                rows = examples.run_classify(servable, name, serialised(request.input), cancellation)
                response = classification_pb2.ClassificationResponse(model_spec=spec_of(servable, name))
            add_classes(response.result, rows)
            return response

        return self._in_place(context, work)

    def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Numbers for `tf.train.Example` messages."""

        def work(cancellation: Cancellation) -> regression_pb2.RegressionResponse:
            with _used(self._manager, request.model_spec) as servable:
                name = request.model_spec.signature_name or DEFAULT_SIGNATURE
                values = examples.run_regress(servable, name, serialised(request.input), cancellation)
                response = regression_pb2.RegressionResponse(model_spec=spec_of(servable, name))
            add_values(response.result, values)
            return response

        return self._in_place(context, work)

    def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Several signatures of one model on the same examples."""
        return self._in_place(
            context, lambda cancellation: multi_inference(self._manager, request, cancellation)
        )

    def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a model."""
        return _answered(context, lambda _: self._metadata(request))

    def _in_place(
        self, context: grpc.ServicerContext, work: Callable[[Cancellation], _Response]
    ) -> _Response:
        def placed(cancellation: Cancellation) -> _Response:
            with self._in_flight_limit.request():
                return work(cancellation)

        return _answered(context, placed)

    def _predict(
        self, request: predict_pb2.PredictRequest, cancellation: Cancellation
    ) -> predict_pb2.PredictResponse:
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        with _used(self._manager, request.model_spec) as servable:
            definition = servable.signature_defs.get(name)
            if definition is None:
                raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
            _check_names(request, definition)
            arrays = {}
            for key, tensor in request.inputs.items():
                try:
                    arrays[key] = array_of(tensor)
                except ServingError:
                    raise
                except Exception as error:  # whatever is wrong inside a message
                    raise invalid(f"tensor parsing error: {key}") from error
            for index, key in enumerate(definition.inputs):
                _check_dtype(index, definition.inputs[key], request.inputs.get(key))
            outputs = servable.run(name, arrays, list(request.output_filter), cancellation)
            response = predict_pb2.PredictResponse(model_spec=spec_of(servable, name))
        for key, array in outputs.items():
            response.outputs[key].CopyFrom(tensor_of(array))
        return response

    def _metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        with _used(self._manager, request.model_spec) as servable:
            response.model_spec.CopyFrom(spec_of(servable, ""))
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response.metadata["signature_def"].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Reports the states of versions, and takes a new list of models."""

    def __init__(self, manager: ModelManager) -> None:
        """Remembers the folders of the models that are there now: no request may name another."""
        self._manager = manager
        self._base_paths = base_paths(manager.configs())

    def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """States of a model's versions."""

        def work(_: Cancellation) -> get_model_status_pb2.GetModelStatusResponse:
            response = get_model_status_pb2.GetModelStatusResponse()
            for version in self._manager.status(**which(request.model_spec)):
                entry = response.model_version_status.add(version=version.number, state=version.state)
                if version.error:
                    entry.status.error_message = version.error.message
                    entry.status.error_code = _number(version.error.code)
            return response

        return _answered(context, work)

    def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models, with the folders that the server was started with."""

        def work(_: Cancellation) -> model_management_pb2.ReloadConfigResponse:
            if request.config.WhichOneof("config") != "model_config_list":
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to "
                    "another.",
                )
            try:
                configs = model_configs(request.config)
            except UserError as error:
                raise invalid(str(error)) from error
            if strange := base_paths(configs) - self._base_paths:
                raise ServingError(
                    "PERMISSION_DENIED",
                    f"base_path {sorted(strange)[0]} is not among the folders that the server was started with. "
                    "Restart it with a --model_config_file that names it.",
                )
            self._manager.reconfigure(configs)
            return model_management_pb2.ReloadConfigResponse()

        return _answered(context, work)


def _answered(context: grpc.ServicerContext, work: Callable[[Cancellation], _Response]) -> _Response:
    """Runs the work; it is cancelled when the client leaves or its deadline passes."""
    cancellation = Cancellation()
    if not context.add_callback(cancellation.cancel):
        cancellation.cancel()
    try:
        return work(cancellation)
    except ServingError as error:
        message = error.message.encode("utf-8", "replace")
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + b"...TRUNCATED"
        context.abort(grpc.StatusCode[error.code], message.decode("utf-8", "ignore"))
        raise  # never reached: abort raises
    except Exception:  # a bug of ours
        _log.exception("a gRPC request failed")
        context.abort(grpc.StatusCode.INTERNAL, "Internal error; the server's log has more.")
        raise


def _used(manager: ModelManager, spec: model_pb2.ModelSpec) -> Any:
    if not spec.ByteSize():
        raise invalid("Missing ModelSpec")
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return manager.use(**which(spec))


def _check_names(request: predict_pb2.PredictRequest, definition: Any) -> None:
    """Inputs and wanted outputs against the signature.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    taken, sent = set(definition.inputs), set(request.inputs)
    needed = taken - set(definition.defaults)
    if not needed <= sent or len(sent) > len(taken):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(taken)} len({_listed(sent)}) != "
            f"len({_listed(taken)}). Sent extra: {_listed(sent - taken)}. Missing but required: "
            f"{_listed(needed - sent)}."
        )
    if extra := sorted(sent - taken):
        raise invalid(f"Signature input alias: {extra[0]} not found in signature def.")
    for name in request.output_filter:
        if name not in definition.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_listed(definition.outputs)}."
            )
    if len(set(request.output_filter)) != len(request.output_filter):
        raise invalid("duplicate output tensor alias: " + request.output_filter[0])


def _check_dtype(index: int, declared: Any, tensor: Any) -> None:
    if tensor is not None and tensor.dtype != declared.dtype:
        names = [tf.as_dtype(dtype).name for dtype in (declared.dtype, tensor.dtype)]
        expected, given = ({"float32": "float", "float64": "double"}.get(name, name) for name in names)
        raise invalid(f"Expects arg[{index}] to be {expected} but {given} is provided")


def _listed(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _number(code: str) -> int:
    return int(grpc.StatusCode[code].value[0])
