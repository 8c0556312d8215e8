"""The Apple Neural Engine, to which Core ML dispatches operations at its own discretion.

Apple does not document the supported operations. The rules are Apple's published advice where it exists, and otherwise
measurements of others on devices: a package without findings may still run elsewhere.
"""

from __future__ import annotations

from evim_deploy.formats import FileFunction, FileOperation
from evim_deploy.formats.coreml import LONGEST_AXIS
from evim_deploy.inspection.rules import (
    Backend,
    Rule,
    Severity,
    axes_of,
    first,
    integers,
    last_length,
    length_over,
    of_types,
    rank,
    shown,
    square_of_pixels,
    typed_shape,
)

MAX_AXES = 5
LONGEST_ARGMAX = 2048
WIDEST_KERNEL = 16  # in fp16, from the A14 on; 13 before
WHOLE_LAST_AXIS = 32  # fp16 elements in 64 bytes
SMALLEST_NORMAL = 2.0**-14
"""Smallest normal float16; smaller values have fewer bits, or are flushed to zero."""

_GUIDE = "https://ane-guide.readthedocs.io/en/latest"
_SURFACE = f"{_GUIDE}/part-1-machine/04-capability-surface.html (measured on an M1)"
_MATRIX = f"{_GUIDE}/appendices/a-op-device-matrix.html (measured on M1, M2, M5)"
_DESIGN = f"{_GUIDE}/part-5-practice/17-model-design-rules.html (measured on an M1)"
_NUMERICS = f"{_GUIDE}/part-1-machine/03-numerics.html (measured on an M1)"
_APPLE = "https://machinelearning.apple.com/research/neural-engine-transformers (Apple)"
_TYPED = "https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html (Apple)"
_FLEXIBLE = "https://developer.apple.com/forums/thread/724930 (an Apple engineer's answer)"
_HOLLANCE = "https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md"
_CPU_GATHER = "https://github.com/apple/coremltools/issues/1103"
_RF_DETR = "https://github.com/roboflow/rf-detr/pull/1495 (MLComputePlan on an M3 Pro)"

_BORDER = frozenset(["cast", "classify"])
"""Operations at the interface, whose types are the interface's and not those of a computation."""

_WIDE_INTEGERS = frozenset(["int16", "uint16", "int32", "uint32", "int64", "uint64"])

_NO_PATH = """acos asin atanh band_part constexpr_cast cosh gru list_gather list_length list_read
    list_scatter list_write logical_and logical_or logical_xor lstm make_list mod non_zero one_hot random_bernoulli
    random_categorical random_normal reduce_prod reverse_sequence rnn scatter scatter_along_axis scatter_nd shape sinh
    sliding_windows tan non_maximum_suppression"""
_NEURAL_NETWORK_LAYERS = """custom simpleRecurrent gru uniDirectionalLSTM biDirectionalLSTM gather concatND splitND
    softmaxND addBroadcastable divideBroadcastable maxBroadcastable minBroadcastable multiplyBroadcastable
    subtractBroadcastable"""
_LATER_CHIPS = """sin cos crop_resize resample affine resize resize_bilinear resize_nearest_neighbor
    upsample_bilinear upsample_nearest_neighbor"""


def _float32(operation: FileOperation, function: FileFunction) -> str:
    wide = (value for value in operation.values if value.dtype in ("float32", "float64", "bfloat16"))
    return "" if operation.type in _BORDER else first(map(typed_shape, wide))


def _integer(operation: FileOperation, function: FileFunction) -> str:
    return first(typed_shape(value) for value in operation.outputs if value.dtype in _WIDE_INTEGERS)


def _rank(operation: FileOperation, function: FileFunction) -> str:
    most = 4 if operation.type in ("linear", "matmul", "conv", "conv_transpose") else MAX_AXES
    return first(typed_shape(value) for value in operation.values if (rank(value) or 0) > most)


def _axis_length(operation: FileOperation, function: FileFunction) -> str:
    for value in operation.values:
        longest = max((axis for axis in value.shape or () if isinstance(axis, int)), default=0)
        if longest > LONGEST_AXIS:
            return f"{longest} in {shown(value)}{square_of_pixels(function, longest, LONGEST_AXIS)}"
    return ""


def _flexible(operation: FileOperation, function: FileFunction) -> str:
    ranges = [axis for axis in operation.outputs[0].shape or () if isinstance(axis, str) and "|" not in axis]
    return shown(operation.outputs[0]) if ranges else ""


def _last_axis(operation: FileOperation, shortest: int, longest: int) -> str:
    """Values of at least three axes whose last is in a range; others are packed along their only long axis."""
    lasts = ((value, value.shape[-1]) for value in operation.outputs if value.shape and len(value.shape) > 2)
    return first(shown(value) for value, last in lasts if isinstance(last, int) and shortest <= last <= longest)


def _epsilon(operation: FileOperation, function: FileFunction) -> str:
    epsilon = operation.parameters.get("epsilon")
    return f"epsilon {epsilon:.3g}" if isinstance(epsilon, float) and 0 <= epsilon < SMALLEST_NORMAL else ""


def _softmax(operation: FileOperation, function: FileFunction) -> str:
    length = length_over(axes_of(operation.outputs), operation.parameters.get("axis"))
    return f"over {length}" if operation.type == "softmax" and length > LONGEST_AXIS else ""


def _argmax(operation: FileOperation, function: FileFunction) -> str:
    length = length_over(axes_of(operation.inputs), operation.parameters.get("axis"))
    applies = operation.type in ("reduce_argmax", "reduce_argmin") and length > LONGEST_ARGMAX
    return f"over {length}" if applies else ""


def _kernel(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in ("conv", "conv_transpose"):
        return ""
    kernels = (value for value in operation.inputs if value.is_constant and rank(value) == 4)
    return first(shown(value) for value in kernels if last_length(value.shape or ()) > WIDEST_KERNEL)


def _pad(operation: FileOperation, function: FileFunction) -> str:
    """``pad`` has a pair for each of the last axes; only the last two may be padded."""
    amounts = integers(operation.parameters.get("pad"))
    return f"pad {amounts}" if operation.type == "pad" and any(amounts[:-4]) else ""


NEURAL_ENGINE = Backend(
    "neural_engine",
    "Apple Neural Engine",
    (
        Rule(
            id="float32",
            severity=Severity.BLOCKS,
            reason="The engine computes in float16; Core ML runs float32 operations on the GPU or the CPU.",
            source=_TYPED,
            find=_float32,
        ),
        Rule(
            id="flexible_shape",
            severity=Severity.BLOCKS,
            reason=(
                "With a range of shapes the engine runs only the default shape; fixed and enumerated shapes all run "
                "there."
            ),
            source=_FLEXIBLE,
            find=_flexible,
            of_inputs=True,
        ),
        Rule(
            id="axis_length",
            severity=Severity.BLOCKS,
            reason=f"An axis is limited to {LONGEST_AXIS} on the A13 to A15 and M1 to M3 (65536 on later chips).",
            source=_SURFACE,
            find=_axis_length,
        ),
        Rule(
            id="rank",
            severity=Severity.BLOCKS,
            reason=f"A value is limited to {MAX_AXES} axes, for a convolution or a matrix product to 4.",
            source=_SURFACE,
            find=_rank,
        ),
        Rule(
            id="integer",
            severity=Severity.BLOCKS,
            reason="The engine does not compute on integers of more than 8 bits.",
            source=_SURFACE,
            find=_integer,
        ),
        Rule(
            id="operation",
            severity=Severity.BLOCKS,
            reason="The engine does not support this operation.",
            source=_MATRIX,
            find=of_types(_NO_PATH, "no path"),
        ),
        Rule(
            id="control_flow",
            severity=Severity.BLOCKS,
            reason="The engine does not support control flow: Core ML runs it elsewhere, or inlines it.",
            source=_MATRIX,
            find=of_types("cond while_loop branch loop loopBreak loopContinue", "control flow"),
        ),
        Rule(
            id="gather",
            severity=Severity.BLOCKS,
            reason="Core ML is reported to gather on the CPU.",
            source=_CPU_GATHER,
            find=of_types("gather gather_along_axis gather_nd", "index"),
        ),
        Rule(
            id="sorting",
            severity=Severity.BLOCKS,
            reason="Core ML is reported to keep it, and what consumes its indices, on the CPU.",
            source=_RF_DETR,
            find=of_types("topk argsort", "sorts"),
        ),
        Rule(
            id="layer",
            severity=Severity.BLOCKS,
            reason="Layers of this type are known not to run on the engine.",
            source=_HOLLANCE,
            find=of_types(_NEURAL_NETWORK_LAYERS, "layer type"),
        ),
        Rule(
            id="argmax_length",
            severity=Severity.BLOCKS,
            reason=f"An argmax or argmin is limited to {LONGEST_ARGMAX} elements.",
            source=_DESIGN,
            find=_argmax,
        ),
        Rule(
            id="kernel_width",
            severity=Severity.BLOCKS,
            reason=f"A float16 kernel is limited to a width of {WIDEST_KERNEL} (13 before the A14).",
            source=_MATRIX,
            find=_kernel,
        ),
        Rule(
            id="pad_axis",
            severity=Severity.BLOCKS,
            reason="Only height and width can be padded.",
            source=_DESIGN,
            find=_pad,
        ),
        Rule(
            id="later_chips",
            severity=Severity.SLOWS,
            reason="Only later chips run it (resampling from the A14 on, sin and cos from the A15): "
            "earlier ones split it into several operations, or run it elsewhere.",
            source=_MATRIX,
            find=of_types(_LATER_CHIPS, "from the A14 or A15 on"),
        ),
        Rule(
            id="last_axis_one",
            severity=Severity.SLOWS,
            reason="The last axis is padded to 64 bytes: a length of 1 needs 32 times the memory in float16.",
            source=_APPLE,
            find=lambda operation, function: _last_axis(operation, 1, 1),
        ),
        Rule(
            id="last_axis_short",
            severity=Severity.SLOWS,
            reason=f"The last axis is padded to 64 bytes, {WHOLE_LAST_AXIS} elements in float16.",
            source=_APPLE,
            find=lambda operation, function: _last_axis(operation, 2, WHOLE_LAST_AXIS - 1),
        ),
        Rule(
            id="epsilon",
            severity=Severity.ROUNDS,
            reason="It is below float16's smallest normal number, 6.1e-05, and may be flushed to zero: "
            "a norm of equal elements would divide by zero.",
            source=_NUMERICS,
            find=_epsilon,
        ),
        Rule(
            id="softmax_length",
            severity=Severity.ROUNDS,
            reason="With so many similar elements each weight is below float16's smallest normal number, 6.1e-05.",
            source=_NUMERICS,
            find=_softmax,
        ),
    ),
)
