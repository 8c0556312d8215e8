"""XNNPACK, which runs TFLite's operations on a CPU; TFLite's own kernels run the operations that it refuses.

Each refusal also ends a partition, with a hand-over of values on both sides. The list and its limits are the delegate's
own (``Subgraph::VisitNode``) in LiteRT 2.2 and 2.3; its README names only part of them. Earlier versions do not accept
LOG.
"""

from __future__ import annotations

from evim_deploy.formats import FileFunction, FileOperation, Value
from evim_deploy.inspection.classes import types
from evim_deploy.inspection.rules import Backend, Rule, Severity, first, integers, rank, shown, typed_shape

MAX_AXES = 6

_FOLDER = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack"
_DELEGATE = f"{_FOLDER}/xnnpack_delegate.cc"
_README = f"{_FOLDER}/README.md (Limitations and supported operators)"

_FLOAT_UNARY = "ABS CEIL COS EXP FLOOR GELU HARD_SWISH LOG NEG RELU RELU6 RELU_N1_TO_1 ROUND RSQRT SIN SQRT SQUARE"
_FLOAT_BINARY = "DIV MAXIMUM MINIMUM PRELU SQUARED_DIFFERENCE"
_FLOAT_OTHERS = "AVERAGE_POOL_2D SOFTMAX"
_ALSO_QUANTISED = """ADD BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE ELU
    FULLY_CONNECTED LEAKY_RELU LOGISTIC MAX_POOL_2D MEAN MUL PAD QUANTIZE REDUCE_MAX REDUCE_MIN RESHAPE
    RESIZE_BILINEAR SLICE SPACE_TO_DEPTH SPLIT STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"""
_VARIABLES = ("ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE")

_FLOATS = frozenset(["float32", "float16"])
_QUANTISED = frozenset(["int8", "uint8"])
FLOAT_ONLY = frozenset(types(f"{_FLOAT_UNARY} {_FLOAT_BINARY} {_FLOAT_OTHERS}"))
"""Types of operations that it supports only on float tensors."""

_DTYPES = {
    **dict.fromkeys(FLOAT_ONLY, _FLOATS),
    **dict.fromkeys(types(_ALSO_QUANTISED), _FLOATS | _QUANTISED),
}
"""Element types of computed tensors, by type of operation."""

_CUSTOM = frozenset(["Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D"])

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_CONSTANTS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "TRANSPOSE_CONV": (0, 1, 3),
    "FULLY_CONNECTED": (1, 2),
    "PRELU": (1,),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "PAD", "RESHAPE", "TRANSPOSE", "RESIZE_BILINEAR"), (1,)
    ),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SPLIT": (0,),
}
"""Inputs that must be stored in the file, by type of operation."""

_COUNTS = {"CONCATENATION": (2, 5), "ADD": (2, 2)}
_OUTPUTS = {"SPLIT": (2, 4)}


def _operation(operation: FileOperation, function: FileFunction) -> str:
    if operation.type == "CUSTOM":
        custom = str(operation.parameters.get("custom_code"))
        return "" if custom in _CUSTOM else custom
    return "" if operation.type in _DTYPES or operation.type in _VARIABLES else "not supported"


def _dtype(operation: FileOperation, function: FileFunction) -> str:
    allowed = _DTYPES.get(operation.type)
    return first(typed_shape(value) for value in operation.values if value.dtype not in allowed) if allowed else ""


def _rank(operation: FileOperation, function: FileFunction) -> str:
    if operation.type in _CONVOLUTIONS:
        return first(typed_shape(value) for value in (*operation.inputs[:1], *operation.outputs) if rank(value) != 4)
    return first(typed_shape(value) for value in operation.values if (rank(value) or 0) > MAX_AXES)


def _constant(operation: FileOperation, function: FileFunction) -> str:
    chosen = (operation.inputs[index] for index in _CONSTANTS.get(operation.type, ()) if index < len(operation.inputs))
    return first(f"{shown(value)} is computed" for value in chosen if not value.is_constant)


def _bias(operation: FileOperation, function: FileFunction) -> str:
    return "no bias" if operation.type in _CONVOLUTIONS and len(operation.inputs) < 3 else ""


def _activation(operation: FileOperation, function: FileFunction) -> str:
    fused = operation.parameters.get("fused_activation_function")
    return str(fused) if operation.type in _DTYPES and fused in ("TANH", "SIGN_BIT") else ""


def _count(operation: FileOperation, function: FileFunction) -> str:
    for table, side, word in ((_COUNTS, operation.inputs, "inputs"), (_OUTPUTS, operation.outputs, "outputs")):
        lowest, highest = table.get(operation.type, (0, len(side)))
        if not lowest <= len(side) <= highest:
            return f"{len(side)} {word}"
    return ""


def _softmax(operation: FileOperation, function: FileFunction) -> str:
    beta = operation.parameters.get("beta", 1.0)
    return f"beta {beta}" if operation.type == "SOFTMAX" and beta != 1 else ""


def _pooling(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return ""
    window, stride = (_sides(operation, side) for side in ("filter", "stride"))
    wider = any(step > length for step, length in zip(stride, window, strict=True))
    return f"window {window}, stride {stride}" if wider else ""


def _sides(operation: FileOperation, what: str) -> tuple[int, int]:
    options = operation.parameters
    height, width = (f"{what}_height", f"{what}_width") if what == "filter" else (f"{what}_h", f"{what}_w")
    return sum(integers(options.get(height))), sum(integers(options.get(width)))


def _strided_slice(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "STRIDED_SLICE":
        return ""
    masks = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    mask = next((name for name in masks if operation.parameters.get(name)), "")
    strides = operation.inputs[3].elements if len(operation.inputs) > 3 else ()
    return mask or ("" if all(stride == 1 for stride in strides) else f"strides {strides}")


def _block(operation: FileOperation, function: FileFunction) -> str:
    size = operation.parameters.get("block_size")
    applies = operation.type in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH") and isinstance(size, int) and size <= 1
    return f"blocks of {size}" if applies else ""


def _mixed(operation: FileOperation, function: FileFunction) -> str:
    """int8 weights with float inputs are supported by dynamic quantisation, except in a depthwise convolution."""
    if operation.type != "DEPTHWISE_CONV_2D" or len(operation.inputs) < 2:
        return ""
    image, kernel = operation.inputs[:2]
    return (
        f"{typed_shape(image)} by {typed_shape(kernel)}"
        if image.dtype in _FLOATS and kernel.dtype not in _FLOATS
        else ""
    )


def _dynamic(operation: FileOperation, function: FileFunction) -> str:
    value: Value = operation.outputs[0]
    return shown(value) if any(isinstance(axis, str) for axis in value.shape or ()) else ""


XNNPACK = Backend(
    "xnnpack",
    "XNNPACK",
    (
        Rule(
            id="operation",
            severity=Severity.BLOCKS,
            reason="XNNPACK does not support this operation.",
            source=_DELEGATE,
            find=_operation,
        ),
        Rule(
            id="dtype",
            severity=Severity.BLOCKS,
            reason="It computes on float tensors, and quantised 8-bit ones for some operations.",
            source=_DELEGATE,
            find=_dtype,
        ),
        Rule(
            id="rank",
            severity=Severity.BLOCKS,
            reason=f"A tensor is limited to {MAX_AXES} axes, an image to 4.",
            source=_DELEGATE,
            find=_rank,
        ),
        Rule(
            id="constant",
            severity=Severity.BLOCKS,
            reason="Weights, axes, shapes and paddings must be stored in the file.",
            source=_DELEGATE,
            find=_constant,
        ),
        Rule(
            id="bias",
            severity=Severity.BLOCKS,
            reason="A convolution needs a bias, even of zeros.",
            source=_README,
            find=_bias,
        ),
        Rule(
            id="activation",
            severity=Severity.BLOCKS,
            reason="It fuses only RELU, RELU6 and RELU_N1_TO_1.",
            source=_README,
            find=_activation,
        ),
        Rule(
            id="count",
            severity=Severity.BLOCKS,
            reason="ADD must have 2 inputs, CONCATENATION 2 to 5, and SPLIT 2 to 4 outputs.",
            source=_DELEGATE,
            find=_count,
        ),
        Rule(
            id="softmax",
            severity=Severity.BLOCKS,
            reason="Softmax must have a beta of 1.",
            source=_README,
            find=_softmax,
        ),
        Rule(
            id="pooling",
            severity=Severity.BLOCKS,
            reason="A pooling window is at least as long as its stride.",
            source=_DELEGATE,
            find=_pooling,
        ),
        Rule(
            id="slice",
            severity=Severity.BLOCKS,
            reason="It slices with strides of 1, without masks that change the axes.",
            source=_README,
            find=_strided_slice,
        ),
        Rule(
            id="block",
            severity=Severity.BLOCKS,
            reason="A block must have more than one element per side.",
            source=_README,
            find=_block,
        ),
        Rule(
            id="mixed",
            severity=Severity.BLOCKS,
            reason="A depthwise convolution of a float image must have float weights.",
            source=_DELEGATE,
            find=_mixed,
        ),
        Rule(
            id="dynamic_shape",
            severity=Severity.SLOWS,
            reason="After a resize of an input XNNPACK prepares everything again.",
            source=_README,
            find=_dynamic,
            of_inputs=True,
        ),
    ),
)
