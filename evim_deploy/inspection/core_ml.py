"""Core ML's runtime: operations that public reports say it computes differently from the specification of MIL.

Each row has a public thread, which we read, and matches an operation by its attributes and shapes. The value of such an
operation cannot be predicted without Core ML: the evaluator refuses it, an export does not write it, and ``inspect``
names it. An operation with the same value either way, such as an average pool in ceil mode whose last window fits,
matches no row.

The reports are by others. If a report has a single set of parameters and no cause, the row covers all operations with
these parameters; if it says which parameters are correct, the row excludes them.
"""

from __future__ import annotations

from collections.abc import Iterator

from evim_deploy.formats import FileFunction, FileOperation, Value
from evim_deploy.inspection.rules import Backend, Rule, Severity, first, integers, rank, shown, typed_shape

_CORE_ML_TOOLS = "https://github.com/apple/coremltools"
_ONNX_RUNTIME = "https://github.com/microsoft/onnxruntime"
_WEB_NN = "https://github.com/webmachinelearning/webnn"

_RIGHT_KERNEL = 3
"""Largest kernel of an average pool over counted padding that #1901 reports as correct."""

_FIRST_WRONG_BATCH = 10
"""Smallest batch for which #2650 reports wrong attention on the GPU."""

_INTEGERS = frozenset(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])


def _pools(operation: FileOperation) -> Iterator[tuple[int, int, int, int, int]]:
    """Side, padding before and after, kernel and stride of each axis of a pool with known shapes."""
    if not operation.type.endswith("_pool") or not operation.inputs:
        return
    sides = (operation.inputs[0].shape or ())[2:]
    kernel = integers(operation.parameters.get("kernel_sizes"))
    stride = integers(operation.parameters.get("strides")) or (1,) * len(sides)
    pad = integers(operation.parameters.get("pad")) if operation.parameters.get("pad_type") == "custom" else ()
    pad = pad or (0, 0) * len(sides)
    if len(kernel) != len(sides) or len(pad) != 2 * len(sides):
        return
    for side, before, after, size, step in zip(sides, pad[::2], pad[1::2], kernel, stride, strict=False):
        if isinstance(side, int) and step > 0:
            yield side, before, after, size, step


def _ceil_windows(operation: FileOperation) -> Iterator[tuple[int, int]]:
    """For each axis of a pool in ceil mode, two positions of its last window.

    They are the number of its elements beyond the padding, and the distance from the last element to its start.
    """
    if operation.parameters.get("ceil_mode") is True:
        for side, before, after, size, step in _pools(operation):
            start = -(-(side + before + after - size) // step) * step
            yield start + size - (side + before + after), start - (side + before) + 1


def _counts_padding(operation: FileOperation) -> bool:
    return operation.type == "avg_pool" and operation.parameters.get("exclude_padding_from_average") is not True


def _ceil_average(operation: FileOperation, function: FileFunction) -> str:
    beyond = max((beyond for beyond, _ in _ceil_windows(operation)), default=0)
    return f"ceil_mode, a window reaches {beyond} beyond the end" if _counts_padding(operation) and beyond > 0 else ""


def _ceil_empty(operation: FileOperation, function: FileFunction) -> str:
    behind = max((behind for _, behind in _ceil_windows(operation)), default=0)
    return "ceil_mode, the last window has no element" if behind > 0 else ""


def _padded_average(operation: FileOperation, function: FileFunction) -> str:
    if not _counts_padding(operation):
        return ""
    wide = [size for _, before, after, size, _ in _pools(operation) if before + after and size > _RIGHT_KERNEL]
    return f"a kernel {wide[0]} wide over padding that counts" if wide else ""


def _output_shape(operation: FileOperation, function: FileFunction) -> str:
    """An output_shape that follows from the padding, as coremltools writes it, has no effect."""
    declared = integers(operation.parameters.get("output_shape")) if operation.type == "conv_transpose" else ()
    sides = tuple(_transposed_sides(operation))
    return f"output_shape {list(declared)}, not {list(sides)}" if declared and sides and declared[2:] != sides else ""


def _transposed_sides(operation: FileOperation) -> Iterator[int]:
    """Output sides of a transposed convolution from its padding; empty if unknown."""
    x, kernel = operation.input("x"), _kernel(operation)[2:]
    sides = (x.shape or ())[2:] if x else ()
    ones = (1,) * len(sides)
    strides, dilations = (integers(operation.parameters.get(name)) or ones for name in ("strides", "dilations"))
    pad_type = operation.parameters.get("pad_type", "valid")
    pad = (integers(operation.parameters.get("pad")) if pad_type == "custom" else ()) or (0, 0) * len(sides)
    if len(kernel) != len(sides) or len(pad) != 2 * len(sides):
        return
    for side, size, step, gap, before, after in zip(
        sides, kernel, strides, dilations, pad[::2], pad[1::2], strict=False
    ):
        if isinstance(side, int):
            full = (side - 1) * step + gap * (size - 1) + 1 - before - after
            yield side * step if pad_type == "same" else full


def _uneven_transpose(operation: FileOperation, function: FileFunction) -> str:
    pad = integers(operation.parameters.get("pad")) if operation.type == "conv_transpose" else ()
    uneven = pad[::2] != pad[1::2] and operation.parameters.get("pad_type") == "custom"
    return f"pad {list(pad)} in float16" if uneven and _is_half(operation) else ""


def _oblong_conv(operation: FileOperation, function: FileFunction) -> str:
    kernel = _kernel(operation) if operation.type == "conv" else ()
    strides = integers(operation.parameters.get("strides"))
    padded = operation.parameters.get("pad_type") != "valid" and any(integers(operation.parameters.get("pad")) or (1,))
    if len(kernel) != 4 or len(set(kernel[2:])) == 1 or kernel[1] == 1 or max(strides, default=1) == 1 or not padded:
        return ""
    return f"kernel {kernel[2]}x{kernel[3]}, strides {list(strides)}, padded"


def _dilated_groups(operation: FileOperation, function: FileFunction) -> str:
    kernel = _kernel(operation) if operation.type == "conv" else ()
    dilations, groups = (integers(operation.parameters.get(name)) for name in ("dilations", "groups"))
    applies = len(kernel) == 3 and max(dilations, default=1) > 1 and max(groups, default=1) > 1
    return f"one axis, dilations {list(dilations)}, {groups[0]} groups" if applies else ""


def _kernel(operation: FileOperation) -> tuple[int, ...]:
    """Shape of a convolution's weights, (O, C/groups, *kernel); empty if unknown."""
    shape = weight.shape if (weight := operation.input("weight")) else None
    return tuple(side for side in shape or () if isinstance(side, int))


def _vector_product(operation: FileOperation, function: FileFunction) -> str:
    """A product with a vector has one axis less; a short constant vector is recognised by that alone."""
    if operation.type != "matmul":
        return ""
    ranks = [rank(value) or 0 for value in operation.inputs]
    drops_axis = any(len(value.shape) < max(ranks, default=0) for value in operation.outputs if value.shape)
    vectors = (shown(value) for value in operation.inputs if rank(value) == 1)
    return first(vectors) or ("a vector of constants" if drops_axis else "")


def _integer_product(operation: FileOperation, function: FileFunction) -> str:
    integer = (typed_shape(value) for value in operation.outputs if value.dtype in _INTEGERS)
    return first(integer) if operation.type in ("matmul", "linear") else ""


def _outer_pad(operation: FileOperation, function: FileFunction) -> str:
    mode, pad = operation.parameters.get("mode", "constant"), integers(operation.parameters.get("pad"))
    applies = operation.type == "pad" and mode != "constant" and any(pad[:-4])
    return f"{mode}, pad {list(pad)}" if applies else ""


def _is_half(operation: FileOperation) -> bool:
    return any(value.dtype == "float16" for value in operation.outputs)


def _softplus(operation: FileOperation, function: FileFunction) -> str:
    return "in float16" if operation.type in ("softplus", "softplus_parametric") and _is_half(operation) else ""


def _log_sum_exp(operation: FileOperation, function: FileFunction) -> str:
    return "in float16" if operation.type == "reduce_log_sum_exp" and _is_half(operation) else ""


def _squeezed_steps(operation: FileOperation, function: FileFunction) -> str:
    stride, squeezed = operation.parameters.get("stride"), operation.parameters.get("squeeze_mask")
    steps, flags = integers(stride), squeezed if isinstance(squeezed, tuple) else (squeezed,)
    applies = operation.type == "slice_by_index" and any(flags) and any(step != 1 for step in steps)
    return f"stride {list(steps)} and squeeze_mask" if applies else ""


def _computed_indices(operation: FileOperation, function: FileFunction) -> str:
    indices = operation.input("indices") if operation.type == "gather_nd" else None
    return f"computed indices, {shown(indices)}" if indices is not None and not indices.is_constant else ""


def _negative_index(operation: FileOperation, function: FileFunction) -> str:
    if operation.type not in ("gather", "gather_along_axis", "gather_nd"):
        return ""
    values = operation.input("indices")
    indices = values.elements if values else integers(operation.parameters.get("indices"))
    return first(f"index {index}" for index in indices if isinstance(index, int) and index < 0)


def _mod(operation: FileOperation, function: FileFunction) -> str:
    return "the sign of a remainder" if operation.type == "mod" else ""


def _round(operation: FileOperation, function: FileFunction) -> str:
    return "halves" if operation.type == "round" else ""


def _fractional_nearest(operation: FileOperation, function: FileFunction) -> str:
    if operation.type != "upsample_nearest_neighbor":
        return ""
    scales = (operation.parameters.get(f"scale_factor_{axis}", 1) for axis in ("height", "width"))
    return first(f"a scale of {scale:.4g}" for scale in scales if isinstance(scale, float) and scale % 1)


def _batched_attention(operation: FileOperation, function: FileFunction) -> str:
    """A product with the output of a softmax, or the fused operation, with a large batch."""
    if operation.type == "matmul":
        softmaxes = {value.name for op in function.operations if op.type == "softmax" for value in op.outputs}
        batched = [value for value in operation.inputs if value.name in softmaxes]
    else:
        batched = list(operation.inputs[:1]) if operation.type == "scaled_dot_product_attention" else []
    return first(shown(value) for value in batched if _batch(value) >= _FIRST_WRONG_BATCH)


def _batch(value: Value) -> int:
    axes = value.shape or ()
    return axes[0] if len(axes) > 2 and isinstance(axes[0], int) else 0


CORE_ML = Backend(
    "core_ml",
    "Core ML's runtime",
    (
        Rule(
            id="pool_ceil_average",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to divide a window that reaches beyond the end by the whole kernel, "
            "on the CPU too; the specification counts what lies inside.",
            source=f"{_CORE_ML_TOOLS}/issues/2772 {_CORE_ML_TOOLS}/pull/2844",
            find=_ceil_average,
            remedy="Use a separate pad operation, and average with exclude_padding_from_average.",
        ),
        Rule(
            id="pool_ceil_empty",
            severity=Severity.DIFFERS,
            reason=("Core ML is reported to keep a window that is only padding; the specification omits it."),
            source=f"{_WEB_NN}/issues/935",
            find=_ceil_empty,
            remedy="Pad without ceil_mode, up to the end of the last window.",
        ),
        Rule(
            id="pool_padded_average",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to give a 49th of the average of a 7x7 kernel over counted padding; "
            "a 3x3 kernel is reported to be right.",
            source=f"{_CORE_ML_TOOLS}/issues/1901",
            find=_padded_average,
            remedy="Use a separate pad operation.",
        ),
        Rule(
            id="conv_transpose_output_shape",
            severity=Severity.DIFFERS,
            reason=(
                "Core ML is reported to give other values on the CPU alone than on all units where output_shape crops."
            ),
            source=f"{_CORE_ML_TOOLS}/issues/2281",
            find=_output_shape,
            remedy="Leave out output_shape, and crop.",
        ),
        Rule(
            id="conv_transpose_uneven",
            severity=Severity.DIFFERS,
            reason=(
                "Core ML is reported to shift the result in float16 where the padding differs before and after "
                "(macOS 14)."
            ),
            source=f"{_CORE_ML_TOOLS}/issues/2324",
            find=_uneven_transpose,
            remedy="Leave out the padding, and crop.",
        ),
        Rule(
            id="conv_oblong",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to give a wrong last corner for a 3x2 kernel in steps of 2 over padding.",
            source=f"{_CORE_ML_TOOLS}/issues/2515",
            find=_oblong_conv,
            remedy="Pad the kernel with zeros to a square one.",
        ),
        Rule(
            id="conv_dilated_groups",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to crash on a dilated convolution of groups along one axis (macOS 15).",
            source=f"{_CORE_ML_TOOLS}/issues/2574",
            find=_dilated_groups,
            remedy="Make it one of two axes, one of which has length 1.",
        ),
        Rule(
            id="matmul_vector",
            severity=Severity.DIFFERS,
            reason=(
                "Core ML is reported to fail on a product with a vector, which ONNX Runtime therefore does not give it."
            ),
            source=f"{_CORE_ML_TOOLS}/issues/2263 {_ONNX_RUNTIME}/pull/21186",
            find=_vector_product,
            remedy="Make the vector a matrix.",
        ),
        Rule(
            id="matmul_integer",
            severity=Severity.DIFFERS,
            reason="Core ML is reported not to load a matrix product of integers (macOS 15).",
            source=f"{_CORE_ML_TOOLS}/issues/2575",
            find=_integer_product,
            remedy="Cast to floats first.",
        ),
        Rule(
            id="pad_outer_axes",
            severity=Severity.DIFFERS,
            reason="Core ML is reported not to load reflection or replication of other axes than the last two.",
            source=f"{_CORE_ML_TOOLS}/issues/2576 {_CORE_ML_TOOLS}/pull/2701 {_WEB_NN}/issues/739",
            find=_outer_pad,
            remedy="Pad after a transpose.",
        ),
        Rule(
            id="softplus_half",
            severity=Severity.DIFFERS,
            reason="The Neural Engine is reported to give 0 for inputs above 10.4; the CPU and the GPU are right.",
            source=f"{_CORE_ML_TOOLS}/issues/2687 {_CORE_ML_TOOLS}/pull/2725",
            find=_softplus,
            remedy="Write it as max(x, 0) + log(1 + exp(-|x|)), or in float32.",
        ),
        Rule(
            id="log_sum_exp_half",
            severity=Severity.DIFFERS,
            reason="The Neural Engine is reported to give 0 once a sum of exponentials is above 65504; "
            "the CPU and the GPU are right.",
            source=f"{_CORE_ML_TOOLS}/issues/2690 {_CORE_ML_TOOLS}/pull/2726",
            find=_log_sum_exp,
            remedy="Subtract the maximum first, or write it in float32.",
        ),
        Rule(
            id="slice_squeezed_steps",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to keep the axis that squeeze_mask takes away where another axis has a stride.",
            source=f"{_CORE_ML_TOOLS}/issues/1710",
            find=_squeezed_steps,
            remedy="Slice first, and squeeze in a separate operation.",
        ),
        Rule(
            id="gather_nd_computed",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to return the first slice for any computed indices.",
            source=f"{_ONNX_RUNTIME}/pull/28598",
            find=_computed_indices,
            remedy="Use gather, or constant indices.",
        ),
        Rule(
            id="gather_negative",
            severity=Severity.DIFFERS,
            reason="Core ML is reported to return the first element for an index of -1 (M4); "
            "until iOS 16 the specification counts from the end, later versions do not specify it.",
            source="https://github.com/rustnn/rustnn/pull/227",
            find=_negative_index,
            remedy="Count from the beginning.",
        ),
        Rule(
            id="mod",
            severity=Severity.DIFFERS,
            reason=(
                "Core ML is reported to give a remainder the sign of the dividend; the specification, that of the "
                "divisor."
            ),
            source="https://github.com/kasper0406/stablehlo-coreml/pull/70",
            find=_mod,
            remedy="Write it as x - y floor(x / y).",
        ),
        Rule(
            id="round",
            severity=Severity.DIFFERS,
            reason="Rounding of halves is reported to depend on the compute unit.",
            source=f"{_WEB_NN}/issues/817",
            find=_round,
            remedy="Write it as floor(x + 0.5), or as the intended rounding.",
        ),
        Rule(
            id="upsample_nearest_fraction",
            severity=Severity.DIFFERS,
            reason="coremltools' own test of fractional scales is expected to fail on other units than the CPU.",
            source=f"{_CORE_ML_TOOLS}/blob/main/coremltools/converters/mil/mil/ops/tests/iOS15/test_image_resizing.py "
            "(rdar://97398448)",
            find=_fractional_nearest,
            remedy="Use a whole scale, or gather.",
        ),
        Rule(
            id="attention_batch",
            severity=Severity.ROUNDS,
            reason=f"The GPU is reported to give wrong attention from a batch of {_FIRST_WRONG_BATCH} on (macOS 26.2); "
            "the CPU and the Neural Engine are right. Windows of an image are such a batch.",
            source=f"{_CORE_ML_TOOLS}/issues/2650",
            find=_batched_attention,
        ),
    ),
    "no reports on these operations",
)


def reported(function: FileFunction) -> Iterator[tuple[FileOperation, Rule, str]]:
    """Operations whose value is reported to differ from the specification, each with its rule and detail."""
    for operation in function.operations:
        for rule in CORE_ML.rules:
            if rule.severity == Severity.DIFFERS and (detail := rule.find(operation, function)):
                yield operation, rule, detail


def reported_difference(function: FileFunction) -> tuple[str, str] | None:
    """The reports on a function's operations in words, and a remedy for the first; None without reports."""
    reports = list(reported(function))
    if not reports:
        return None
    operation, rule, detail = reports[0]
    others = len({each.name for each, _, _ in reports}) - 1
    more = f" (and {others} more such operations)" if others > 1 else " (and one more such operation)" if others else ""
    return f"{operation.name} ({operation.type}: {detail}){more}. {rule.reason} {rule.source}", rule.remedy
