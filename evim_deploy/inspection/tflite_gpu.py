"""TFLite's GPU delegate (OpenCL, OpenGL, Metal), by the delegate's own checks.

The sources are ``CheckGpuDelegateCompatibility``, which TensorFlow's model analyzer runs too, and the construction of
the delegate's graph. Constants must be stored in the file.
"""

from __future__ import annotations

from evim_deploy.formats import FileFunction, FileOperation
from evim_deploy.inspection.classes import types
from evim_deploy.inspection.rules import (
    Backend,
    Rule,
    Severity,
    axes_of,
    first,
    last_length,
    of_types,
    rank,
    shown,
    typed_shape,
)

MAX_AXES = 4

_LITERT = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite"
_GATE = f"{_LITERT}/tools/versioning/gpu_compatibility.cc"
_BUILDER = f"{_LITERT}/delegates/gpu/common/model_builder.cc"
_SHAPES = f"{_LITERT}/delegates/gpu/common/model_builder_helper.cc (ExtractTensorShape)"
_RUNTIME = f"{_LITERT}/core/subgraph.cc (ModifyGraphWithDelegate)"
_ADVICE = "https://ai.google.dev/edge/litert/performance/gpu (Optimizing for GPUs)"

_OPERATIONS = types(
    """ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM DENSIFY
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV
    FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND
    LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU
    QUANTIZE REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV"""
)
_CUSTOM = frozenset(["Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Resampler"])

_DTYPES = frozenset(["float32", "float16", "int8", "uint8"])
_MORE_INPUTS = {
    "CAST": frozenset(["bool", "int32"]),
    "ONE_HOT": frozenset(["int32"]),
    "SELECT": frozenset(["bool"]),
    "SELECT_V2": frozenset(["bool"]),
    "LOGICAL_AND": frozenset(["bool"]),
    "GATHER": frozenset(["int32"]),
}
_COMPARISONS = "EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL NOT_EQUAL LOGICAL_AND"
_MORE_OUTPUTS = {"CAST": frozenset(["bool", "int32"]), **dict.fromkeys(_COMPARISONS.split(), frozenset(["bool"]))}

_REDUCTIONS = types("MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD")
_PADS = types("PAD PADV2 MIRROR_PAD")
_RESHAPES = """RESHAPE TRANSPOSE BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND SPACE_TO_DEPTH DEPTH_TO_SPACE PACK"""


def _operation(operation: FileOperation, function: FileFunction) -> str:
    custom = operation.parameters.get("custom_code")
    if operation.type == "CUSTOM":
        return "" if custom in _CUSTOM else str(custom)
    return "" if operation.type in _OPERATIONS else "not supported"


def _dtype(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in _OPERATIONS:
        return ""
    inputs = _DTYPES | _MORE_INPUTS.get(operation.type, frozenset())
    outputs = _DTYPES | _MORE_OUTPUTS.get(operation.type, frozenset())
    computed = [value for value in operation.inputs if not value.is_constant]
    wrong = [value for value in computed if value.dtype not in inputs]
    wrong += [value for value in operation.outputs if value.dtype not in outputs]
    return first(map(typed_shape, wrong))


def _rank(operation: FileOperation, function: FileFunction) -> str:
    return first(typed_shape(value) for value in operation.values if not 1 <= (rank(value) or 0) <= MAX_AXES)


def _dynamic(operation: FileOperation, function: FileFunction) -> str:
    (value,) = operation.outputs
    return shown(value) if any(isinstance(axis, str) for axis in value.shape or ()) else ""


def _axes(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in _REDUCTIONS or len(operation.inputs) < 2:
        return ""
    axes = operation.inputs[1]
    return "" if axes.is_constant and axes.dtype == "int32" else f"axes are {typed_shape(axes)}"


def _product(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "MUL" or len(operation.inputs) != 2:
        return ""
    one, other = (value.shape or () for value in operation.inputs)
    pairs = [(a, b) for a, b in zip(one, other, strict=False) if isinstance(a, int) and isinstance(b, int)]
    both = any(a < b for a, b in pairs) and any(a > b for a, b in pairs)
    return " and ".join(map(shown, operation.inputs)) if len(one) == len(other) and both else ""


def _slice(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in ("SLICE", "STRIDED_SLICE"):
        return ""
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    mask = next((name for name in masks if operation.parameters.get(name)), "")
    return mask or ("" if rank(operation.inputs[0]) in (3, 4) else typed_shape(operation.inputs[0]))


def _softmax(operation: FileOperation, function: FileFunction) -> str:
    beta = operation.parameters.get("beta", 1.0)
    return f"beta {beta}" if operation.type == "SOFTMAX" and beta != 1 else ""


def _pad(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in _PADS or len(operation.inputs) < 2:
        return ""
    if operation.type == "MIRROR_PAD" and operation.parameters.get("mode", 0) != 0:
        return "symmetric"
    return "" if operation.inputs[1].shape in ((3, 2), (4, 2)) else f"paddings of {shown(operation.inputs[1])}"


def _depthwise(operation: FileOperation, function: FileFunction) -> str:
    multiplier, several = operation.parameters.get("depth_multiplier", 1), last_length(axes_of(operation.inputs)) != 1
    applies = operation.type == "DEPTHWISE_CONV_2D" and multiplier != 1 and several
    return f"multiplier {multiplier}" if applies else ""


def _groups(operation: FileOperation, function: FileFunction) -> str:
    """Grouped convolutions, except depthwise ones, which are recognised, and groups of multiples of four."""
    channels, group = (last_length(axes_of(operation.inputs, index)) for index in (0, 1))
    outputs = last_length(axes_of(operation.outputs))
    if operation.type != "CONV_2D" or not group or channels <= group or (group == 1 and channels == outputs):
        return ""
    groups = channels // group
    return "" if group % 4 == 0 and outputs // groups % 4 == 0 else f"{groups} groups of {group} channels"


def _computed_weights(operation: FileOperation, function: FileFunction) -> str:
    """Weights may be computed, except those of a grouped convolution."""
    if operation.type != "CONV_2D" or len(operation.inputs) < 2 or operation.inputs[1].is_constant:
        return ""
    channels, group = (last_length(axes_of(operation.inputs, index)) for index in (0, 1))
    return f"weights {shown(operation.inputs[1])} are computed" if channels != group else ""


def _gather(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "GATHER" or len(operation.inputs) < 2:
        return ""
    data, indices = operation.inputs[:2]
    if data.dtype == "int32":
        return typed_shape(data)
    return "" if indices.dtype == "int32" and rank(indices) == 1 else f"indices are {typed_shape(indices)}"


def _cast(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "CAST" or not operation.outputs:
        return ""
    dtypes = operation.inputs[0].dtype, operation.outputs[0].dtype
    floats, others = {"float32", "float16"}, {"float32", "int32"}
    allowed = all(dtype in others for dtype in dtypes) or ("bool" in dtypes and not floats.isdisjoint(dtypes))
    return "" if allowed else " to ".join(dtypes)


def _fully_connected(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "FULLY_CONNECTED" or len(operation.inputs) < 2:
        return ""
    return "its input is a constant" if operation.inputs[0].is_constant else ""


TFLITE_GPU = Backend(
    "tflite_gpu",
    "TFLite GPU delegate",
    (
        Rule(
            id="operation",
            severity=Severity.BLOCKS,
            reason="The delegate does not support this operation.",
            source=_GATE,
            find=_operation,
        ),
        Rule(
            id="dtype",
            severity=Severity.BLOCKS,
            reason=("Tensors must be float32, float16 or quantised to 8 bits (bool and int32 for a few operations)."),
            source=f"{_BUILDER} (GetOpsToReplace)",
            find=_dtype,
        ),
        Rule(
            id="rank",
            severity=Severity.BLOCKS,
            reason=f"A tensor has 1 to {MAX_AXES} axes: batch, height, width, channels.",
            source=_SHAPES,
            find=_rank,
        ),
        Rule(
            id="dynamic_shape",
            severity=Severity.BLOCKS,
            reason="The runtime does not apply a delegate for static tensors to a graph with dynamic ones; "
            "resize its inputs before applying the delegate.",
            source=_RUNTIME,
            find=_dynamic,
            of_inputs=True,
        ),
        Rule(
            id="axes",
            severity=Severity.BLOCKS,
            reason="The axes of a reduction must be an int32 constant.",
            source=_GATE,
            find=_axes,
        ),
        Rule(
            id="broadcast",
            severity=Severity.BLOCKS,
            reason="One factor must be at least as long as the other on every axis.",
            source=_GATE,
            find=_product,
        ),
        Rule(
            id="slice",
            severity=Severity.BLOCKS,
            reason="It slices tensors of 3 or 4 axes, without masks that change the axes.",
            source=_GATE,
            find=_slice,
        ),
        Rule(
            id="softmax",
            severity=Severity.BLOCKS,
            reason="Softmax must have a beta of 1.",
            source=_GATE,
            find=_softmax,
        ),
        Rule(
            id="pad",
            severity=Severity.BLOCKS,
            reason="Paddings must be 3x2 or 4x2, and mirror padding must be of mode reflect.",
            source=_GATE,
            find=_pad,
        ),
        Rule(
            id="gather",
            severity=Severity.BLOCKS,
            reason="It gathers floats with a list of int32 indices.",
            source=_GATE,
            find=_gather,
        ),
        Rule(
            id="cast",
            severity=Severity.BLOCKS,
            reason="It casts between float32 and int32, and between bool and floats.",
            source=_GATE,
            find=_cast,
        ),
        Rule(
            id="fully_connected",
            severity=Severity.BLOCKS,
            reason="The input of a product must not be a constant.",
            source=_GATE,
            find=_fully_connected,
        ),
        Rule(
            id="depth_multiplier",
            severity=Severity.BLOCKS,
            reason="A depthwise convolution of several channels must have a multiplier of 1.",
            source=_GATE,
            find=_depthwise,
        ),
        Rule(
            id="computed_weights",
            severity=Severity.BLOCKS,
            reason="A grouped convolution needs constant weights.",
            source=f"{_BUILDER} (Conv2DOperationParser)",
            find=_computed_weights,
        ),
        Rule(
            id="grouped_convolution",
            severity=Severity.SLOWS,
            reason=(
                "Groups that are neither depthwise nor of multiples of four become a split, a convolution each, and a "
                "concatenation."
            ),
            source=f"{_BUILDER} (ResolveGroupedConvolution)",
            find=_groups,
        ),
        Rule(
            id="reshape",
            severity=Severity.SLOWS,
            reason="A reshape, free on a CPU, is a copy on a GPU.",
            source=_ADVICE,
            find=of_types(_RESHAPES, "copy"),
        ),
    ),
)
