"""The class of each type of operation, one table a format; a type without an entry is ``other``.

Names: https://onnx.ai/onnx/operators/,
https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html, and
``BuiltinOperator`` in TensorFlow's tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class OpClass(StrEnum):
    """The class of an operation, in the order of a report.

    Resampling counts as pooling, a comparison as elementwise.
    """

    CONVOLUTION = "convolution"
    MATRIX_PRODUCT = "matrix product"
    NORMALISATION = "normalisation"
    ACTIVATION = "activation"
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"
    POOLING = "pooling"
    MOVEMENT = "data movement"
    QUANTISATION = "quantisation"
    CONTROL_FLOW = "control flow"
    OTHER = "other"


_COREML = {
    OpClass.CONVOLUTION: "conv conv_transpose conv_quantized",
    OpClass.MATRIX_PRODUCT: "linear matmul einsum scaled_dot_product_attention",
    OpClass.NORMALISATION: "batch_norm instance_norm l2_norm layer_norm local_response_norm",
    OpClass.ACTIVATION: """clamped_relu elu gelu leaky_relu linear_activation prelu relu relu6 scaled_tanh sigmoid
        sigmoid_hard silu softmax softplus softplus_parametric softsign tanh thresholded_relu""",
    OpClass.ELEMENTWISE: """abs acos add asin atan atanh ceil clip cos cosh equal erf exp exp2 floor floor_div greater
        greater_equal inverse less less_equal log logical_and logical_not logical_or logical_xor maximum minimum
        mod mul not_equal pow real_div round rsqrt select sign sin sinh sqrt square sub tan threshold""",
    OpClass.REDUCTION: """argsort cumsum reduce_argmax reduce_argmin reduce_l1_norm reduce_l2_norm reduce_log_sum
        reduce_log_sum_exp reduce_max reduce_mean reduce_min reduce_prod reduce_sum reduce_sum_square topk""",
    OpClass.POOLING: """avg_pool l2_pool max_pool resize resize_bilinear resize_nearest_neighbor upsample_bilinear
        upsample_nearest_neighbor crop_resize resample affine""",
    OpClass.MOVEMENT: """band_part batch_to_space cast concat crop depth_to_space expand_dims flatten2d gather
        gather_along_axis gather_nd identity pad pixel_shuffle pixel_unshuffle reshape reshape_like reverse
        reverse_sequence scatter scatter_along_axis scatter_nd slice_by_index slice_by_size slice_update
        sliding_windows space_to_batch space_to_depth split squeeze stack tile transpose""",
    OpClass.QUANTISATION: """quantize dequantize constexpr_affine_dequantize constexpr_blockwise_shift_scale
        constexpr_cast constexpr_lut_to_dense constexpr_lut_to_sparse constexpr_sparse_blockwise_shift_scale
        constexpr_sparse_to_dense""",
    OpClass.CONTROL_FLOW: "cond while_loop",
}

_NEURAL_NETWORK = {
    OpClass.CONVOLUTION: "convolution",
    OpClass.MATRIX_PRODUCT: "innerProduct batchedMatmul",
    OpClass.NORMALISATION: "batchnorm l2normalize layerNormalization lrn mvn",
    OpClass.ACTIVATION: "activation softmax softmaxND",
    OpClass.ELEMENTWISE: """add addBroadcastable divideBroadcastable maxBroadcastable minBroadcastable multiply
        multiplyBroadcastable subtractBroadcastable scale bias unary""",
    OpClass.REDUCTION: "reduce reduceMax reduceMean reduceMin reduceSum argMax",
    OpClass.POOLING: "pooling globalPooling3d pooling3d upsample resizeBilinear cropResize",
    OpClass.MOVEMENT: """concat concatND crop expandDims flatten flattenTo2D gather padding permute reorganizeData
        reshape reshapeStatic sequenceRepeat slice sliceStatic sliceDynamic split splitND squeeze stack transpose""",
    OpClass.CONTROL_FLOW: "branch loop loopBreak loopContinue",
}

_ONNX = {
    OpClass.CONVOLUTION: "Conv ConvInteger ConvTranspose QLinearConv DeformConv",
    OpClass.MATRIX_PRODUCT: "Einsum Gemm MatMul MatMulInteger QLinearMatMul Attention",
    OpClass.NORMALISATION: """BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization
        LpNormalization MeanVarianceNormalization RMSNormalization""",
    OpClass.ACTIVATION: """Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink
        Sigmoid Softmax Softplus Softsign Swish Tanh ThresholdedRelu""",
    OpClass.ELEMENTWISE: """Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr
        BitwiseXor Ceil Clip Cos Cosh Div Equal Erf Exp Floor Greater GreaterOrEqual Less LessOrEqual Log Max Mean
        Min Mod Mul Neg Not Or Pow Reciprocal Round Sign Sin Sinh Sqrt Sub Sum Tan Where Xor IsInf IsNaN""",
    OpClass.REDUCTION: """ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
        ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK""",
    OpClass.POOLING: """AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample LpPool MaxPool MaxRoiPool
        MaxUnpool Resize RoiAlign Upsample""",
    OpClass.MOVEMENT: """Cast CastLike CenterCropPad Compress Concat DepthToSpace Expand Flatten Gather GatherElements
        GatherND Identity Pad Reshape ReverseSequence Scatter ScatterElements ScatterND Slice SpaceToDepth Split
        Squeeze Tile Transpose Trilu Unsqueeze""",
    OpClass.QUANTISATION: "DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
    OpClass.CONTROL_FLOW: "If Loop Scan",
}

_TFLITE = {
    OpClass.CONVOLUTION: "CONV_2D CONV_3D CONV_3D_TRANSPOSE DEPTHWISE_CONV_2D TRANSPOSE_CONV STABLEHLO_CONVOLUTION",
    OpClass.MATRIX_PRODUCT: "BATCH_MATMUL FULLY_CONNECTED STABLEHLO_DOT_GENERAL",
    OpClass.NORMALISATION: "L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
    OpClass.ACTIVATION: """ELU GELU HARD_SWISH LEAKY_RELU LOGISTIC LOG_SOFTMAX PRELU RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
        SOFTMAX TANH""",
    OpClass.ELEMENTWISE: """ABS ADD ADD_N ATAN2 BITWISE_XOR CEIL COS DIV EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD GREATER
        GREATER_EQUAL LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR MAXIMUM MINIMUM MUL NEG NOT_EQUAL POW
        RIGHT_SHIFT ROUND RSQRT SELECT SELECT_V2 SIGN SIN SQRT SQUARE SQUARED_DIFFERENCE SUB WHERE""",
    OpClass.REDUCTION: """ARG_MAX ARG_MIN CUMSUM MEAN REDUCE_ALL REDUCE_ANY REDUCE_MAX REDUCE_MIN REDUCE_PROD
        SEGMENT_SUM SUM TOPK_V2""",
    OpClass.POOLING: "AVERAGE_POOL_2D L2_POOL_2D MAX_POOL_2D REDUCE_WINDOW RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    OpClass.MOVEMENT: """BATCH_TO_SPACE_ND BITCAST BROADCAST_TO CAST CONCATENATION DEPTH_TO_SPACE DILATE
        DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP EXPAND_DIMS GATHER GATHER_ND MIRROR_PAD PACK PAD PADV2 RESHAPE
        REVERSE_SEQUENCE REVERSE_V2 SCATTER_ND SLICE SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQUEEZE
        STRIDED_SLICE TILE TRANSPOSE UNPACK""",
    OpClass.QUANTISATION: "DENSIFY DEQUANTIZE FAKE_QUANT QUANTIZE",
    OpClass.CONTROL_FLOW: "CALL CALL_ONCE IF WHILE STABLEHLO_CASE STABLEHLO_WHILE",
}


def types(text: str) -> frozenset[str]:
    """Types of operations from a text of names separated by spaces."""
    return frozenset(text.split())


def _by_type(*tables: Mapping[OpClass, str]) -> dict[str, OpClass]:
    return {type_: class_ for table in tables for class_, named in table.items() for type_ in named.split()}


_CLASS_OF = {"coreml": _by_type(_NEURAL_NETWORK, _COREML), "onnx": _by_type(_ONNX), "tflite": _by_type(_TFLITE)}

_VIEWS = types(
    """expand_dims flatten2d identity reshape reshape_like squeeze expandDims flatten flattenTo2D reshapeStatic
    Flatten Identity Reshape Squeeze Unsqueeze BITCAST EXPAND_DIMS RESHAPE SQUEEZE"""
)
"""Operations that only change the shape of contiguous data."""


def class_of(format_: str, type_: str) -> OpClass:
    """The class of a type of operation in a format."""
    return _CLASS_OF[format_].get(type_, OpClass.OTHER)


def is_view(type_: str) -> bool:
    """Whether an operation of class data movement leaves contiguous data in place."""
    return type_ in _VIEWS
