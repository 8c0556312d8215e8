"""The classes of operations in breakdowns, for the operations of every engine.

An engine's table gives the class of each type of operation. Convolutions are classified by the shape of their kernel
(O, I / groups, kh, kw), which the engines report: a convolution whose groups have a single channel is depthwise.
Operations missing from a table are ``other``, and so remain visible in a breakdown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum


class OperationClass(StrEnum):
    """The classes, in the order of breakdowns."""

    POINTWISE_CONVOLUTION = "convolution 1x1"
    DEPTHWISE_CONVOLUTION = "convolution depthwise"
    OTHER_CONVOLUTION = "convolution other"
    MATRIX_PRODUCT = "matrix product"
    NORMALISATION = "normalisation"
    POINTWISE = "pointwise"
    REDUCTION = "softmax and reduction"
    COPIES = "copies, reshapes and layout"
    OTHER = "other"


_CONVOLUTION = "convolution"  # the kernel decides which of the first three


def _by_type(table: Mapping[str, str]) -> dict[str, str]:
    """Invert a table of classes: the class of each type of operation.

    Raises:
        ValueError: A type appears twice.
    """
    classes: dict[str, str] = {}
    for class_, types in table.items():
        for type_ in types.split():
            if type_ in classes:
                raise ValueError(f"{type_} appears twice")
            classes[type_] = class_
    return classes


_TORCH = _by_type(
    {
        _CONVOLUTION: (
            "convolution _convolution mkldnn_convolution cudnn_convolution cudnn_convolution_relu "
            "cudnn_convolution_add_relu _slow_conv2d_forward thnn_conv2d conv_depthwise2d _conv_depthwise2d "
            "conv1d conv2d convolution_overrideable _convolution_pointwise mkldnn_convolution_pointwise"
        ),
        OperationClass.MATRIX_PRODUCT: (
            "mm bmm addmm baddbmm addbmm matmul linear mkldnn_linear _linear_pointwise dot mv addmv einsum "
            "scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu "
            "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
            "_flash_attention_forward _efficient_attention_forward _scaled_dot_product_cudnn_attention "
            "_mkl_linear"
        ),
        OperationClass.NORMALISATION: (
            "batch_norm native_batch_norm _batch_norm_impl_index cudnn_batch_norm layer_norm "
            "native_layer_norm group_norm native_group_norm _native_batch_norm_legit_no_training"
        ),
        OperationClass.POINTWISE: (
            "add add_ sub sub_ mul mul_ div div_ rsub neg abs square pow sqrt rsqrt reciprocal exp exp_ log "
            "relu relu_ gelu gelu_ silu silu_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_ hardsigmoid "
            "hardsigmoid_ hardtanh hardtanh_ leaky_relu clamp clamp_ clamp_min clamp_min_ addcmul addcmul_ "
            "where maximum minimum"
        ),
        OperationClass.REDUCTION: (
            "softmax _softmax log_softmax sum mean var std amax max amin argmax norm linalg_vector_norm "
            "cumsum adaptive_avg_pool2d _adaptive_avg_pool2d avg_pool2d max_pool2d max_pool2d_with_indices"
        ),
        OperationClass.COPIES: (
            "copy_ clone contiguous to _to_copy reshape view _reshape_alias flatten unflatten permute "
            "transpose t numpy_T mT expand expand_as squeeze unsqueeze cat stack split split_with_sizes "
            "chunk unbind slice narrow select index as_strided as_strided_ repeat empty empty_like "
            "empty_strided zeros zeros_like fill_ zero_ resize_ _unsafe_view unfold im2col col2im roll pad "
            "constant_pad_nd pixel_shuffle result_type resolve_conj alias reorder_weight resize_as_ "
            "lift_fresh detach_ detach _reorder_convolution_weight upsample_bilinear2d upsample_nearest2d "
            "to_mkldnn to_dense _autocast_to_reduced_precision _autocast_to_full_precision"
        ),
    }
)

_ONNXRUNTIME = _by_type(
    {
        _CONVOLUTION: "Conv FusedConv NhwcFusedConv QLinearConv ConvInteger",
        OperationClass.MATRIX_PRODUCT: (
            "MatMul Gemm FusedMatMul FusedGemm Einsum Attention MultiHeadAttention QGemm QLinearMatMul "
            "MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul"
        ),
        OperationClass.NORMALISATION: (
            "BatchNormalization LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization "
            "GroupNormalization InstanceNormalization GroupNorm"
        ),
        OperationClass.POINTWISE: (
            "Add Sub Mul Div Neg Abs Pow Sqrt Reciprocal Exp Log Relu Gelu BiasGelu FastGelu QuickGelu Erf "
            "Sigmoid Tanh HardSwish HardSigmoid LeakyRelu Clip Where Max Min Sum Not Equal QuantizeLinear "
            "DequantizeLinear DynamicQuantizeLinear QLinearAdd QLinearMul QLinearSigmoid"
        ),
        OperationClass.REDUCTION: (
            "Softmax LogSoftmax ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ReduceSumSquare "
            "GlobalAveragePool AveragePool MaxPool ArgMax CumSum"
        ),
        OperationClass.COPIES: (
            "Reshape Transpose Concat Split Slice Squeeze Unsqueeze Flatten Expand Gather GatherElements "
            "GatherND Pad Cast Identity Tile Shape ReorderInput ReorderOutput Resize DepthToSpace "
            "SpaceToDepth Range ConstantOfShape ScatterND"
        ),
    }
)

_OPENVINO = _by_type(
    {
        _CONVOLUTION: "Convolution GroupConvolution",
        OperationClass.MATRIX_PRODUCT: "FullyConnected MatMul Gemm ScaledDotProductAttention",
        OperationClass.NORMALISATION: "MVN NormalizeL2 GroupNormalization RMSNorm BatchNormInference",
        OperationClass.POINTWISE: (
            "Eltwise Add Subtract Multiply Divide Power Relu ReLU Sigmoid Swish Gelu HSwish HardSigmoid "
            "Clamp FakeQuantize Subgraph PowerStatic MulAdd Exp Sqrt Tanh Math Select"
        ),
        OperationClass.REDUCTION: (
            "Softmax SoftMax Reduce ReduceMean ReduceSum ReduceMax ReduceMin Pooling AvgPool MaxPool AdaptivePooling"
        ),
        OperationClass.COPIES: (
            "Reorder Reshape Transpose Concat Concatenation Split VariadicSplit StridedSlice Slice Squeeze "
            "Unsqueeze Gather Broadcast Convert Pad Tile Interpolate Input Output Parameter Result Constant "
            "Const ShapeOf DepthToSpace SpaceToDepth ExtractImagePatches MemoryInput MemoryOutput"
        ),
    }
)

_FUSED = (
    (OperationClass.NORMALISATION, "batch_norm layer_norm group_norm rsqrt"),
    (OperationClass.REDUCTION, "softmax mean sum amax amin var pool2d"),
    (
        OperationClass.POINTWISE,
        "add sub rsub mul div neg abs square pow sqrt reciprocal exp log relu gelu silu sigmoid tanh erf hardswish "
        "hardsigmoid hardtanh clamp where maximum minimum",
    ),
    (
        OperationClass.COPIES,
        "copy clone cat stack view reshape permute transpose t unflatten flatten split slice select expand squeeze "
        "unsqueeze pad index unfold im2col convolution mm bmm addmm",
    ),
)
"""Classes of inductor's kernels by the operations that their names list; the first row with a match is the class.

Convolutions and matrix products have kernels of their own. A fused kernel named after them prepares their operands.
"""

_FUSED_KERNEL = re.compile(r"(?:cpp|triton)_(?:[a-z]+_)?fused_(.*?)_?\d*$")


def classify_torch(name: str, shapes: Sequence[Sequence[int]]) -> str:
    """The class of an operation in PyTorch's profile.

    Args:
        name: ``aten::mm``, or inductor's name of a fused kernel.
        shapes: Shapes of its inputs.
    """
    fused = _FUSED_KERNEL.search(name)
    if fused:
        return next((class_ for class_, words in _FUSED if _has_word(fused[1], words)), OperationClass.OTHER)
    return _by_inputs(_TORCH.get(name.rpartition("::")[2], OperationClass.OTHER), shapes)


def classify_onnxruntime(op: str, shapes: Sequence[Sequence[int]], kernel: Sequence[int] = ()) -> str:
    """The class of an operation in ONNX Runtime's profile.

    Args:
        op: Type of the operation.
        shapes: Shapes of its inputs.
        kernel: Kernel shape (O, I / groups, kh, kw) of an integer convolution, which is not among the inputs; otherwise
            empty.
    """
    class_ = _ONNXRUNTIME.get(op, OperationClass.OTHER)
    return _convolution_class(kernel) if class_ == _CONVOLUTION and kernel else _by_inputs(class_, shapes)


def classify_openvino(node_type: str, implementation: str, kernel: Sequence[int]) -> str:
    """The class of a node in OpenVINO's profile.

    Args:
        node_type: Type in the profile.
        implementation: Name of the implementation, which describes the kernel of a convolution.
        kernel: Kernel shape (O, I, kh, kw), or (groups, O / groups, I / groups, kh, kw); empty if unknown.
    """
    class_ = _OPENVINO.get(node_type, OperationClass.OTHER)
    if class_ != _CONVOLUTION:
        return class_
    if len(kernel) in (4, 5):
        return _convolution_class(kernel[-4:])
    words = implementation.split("_")
    return (
        OperationClass.DEPTHWISE_CONVOLUTION
        if "dw" in words
        else OperationClass.POINTWISE_CONVOLUTION
        if "1x1" in words
        else OperationClass.OTHER_CONVOLUTION
    )


def _has_word(kernel: str, words: str) -> bool:
    return re.search(rf"(?<![a-z])({words.replace(' ', '|')})(?![a-z])", kernel) is not None


def _convolution_class(kernel: Sequence[int]) -> str:
    """The class of a convolution with a kernel (O, I / groups, ...)."""
    _, inputs, *sides = kernel or (0, 0)
    if inputs == 1:
        return OperationClass.DEPTHWISE_CONVOLUTION
    return OperationClass.POINTWISE_CONVOLUTION if sides and set(sides) == {1} else OperationClass.OTHER_CONVOLUTION


def _by_inputs(class_: str, shapes: Sequence[Sequence[int]]) -> str:
    """The class of an operation; a convolution's depends on the kernel, the second input if it is reported."""
    if class_ != _CONVOLUTION:
        return class_
    return _convolution_class(shapes[1]) if len(shapes) > 1 and len(shapes[1]) > 2 else OperationClass.OTHER_CONVOLUTION
