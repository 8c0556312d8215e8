"""Read a Core ML model, an .mlpackage or an .mlmodel file, into the common form.

An ML Program is represented by its operations, a neural network by its layers, and any other kind (trees, pipelines
...) by its name; their layers have no typed values between them.
Source: coremltools, mlmodel/format/Model.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evim_deploy.common.errors import BadInput, Damaged
from evim_deploy.formats import mil
from evim_deploy.formats.blob import element_bits
from evim_deploy.formats.coreml import MAIN, Package, interface, read_package, read_spec
from evim_deploy.formats.model_file import (
    SMALL,
    Axis,
    FileFunction,
    FileOperation,
    ModelFile,
    Parameter,
    Unsupported,
    Value,
    unsupported_error,
)
from evim_deploy.formats.paths import file_content
from evim_deploy.formats.protobuf import core_ml

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PACKAGE = ".mlpackage"

_COLOURS = {10: 1, 20: 3, 30: 3, 40: 1}
"""Channels of an image by its ``ColorSpace``: grayscale, RGB, BGR, grayscale in float16."""


def read(path: Path, infer_shapes: bool) -> ModelFile:
    """Read a Core ML model without the weights' values; the file stores all shapes.

    Raises:
        BadInput: It is not a Core ML model, it is damaged, or a file of a package is missing.
    """
    spec = read_spec(path) if path.suffix.lower() == _PACKAGE else _parsed(path)
    kind = spec.WhichOneof("Type")
    if kind is None:
        raise BadInput(f"{path} is not a Core ML model.", "Name a file that Core ML Tools wrote.")
    if kind == "mlProgram" and path.suffix.lower() != _PACKAGE:
        raise BadInput(f"{path} is a program without its weights.", "Name the .mlpackage that it came from.")
    try:
        functions = _program(path, read_package(path)) if kind == "mlProgram" else (_layers(spec, kind),)
        inputs, outputs = _interface(spec.description, functions[0].name)
        metadata = spec.description.metadata
        return ModelFile(
            format="coreml",
            kind=f"{kind}, specification {spec.specificationVersion}",
            producer=metadata.author,
            description=metadata.shortDescription,
            metadata=dict(metadata.userDefined),
            inputs=inputs,
            outputs=outputs,
            functions=functions,
        )
    except Unsupported as error:
        raise unsupported_error(path, error) from None
    except ValueError as error:
        raise Damaged(f"{path} is damaged: {error}.") from None


def _interface(description: Message, function: str) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """The interface of a function."""
    own = interface(description, function)
    return tuple(map(_feature, own.input)), tuple(map(_feature, own.output))


def _parsed(path: Path) -> Message:
    from google.protobuf.message import DecodeError

    try:
        return core_ml("Model_pb2").Model.FromString(file_content(path))
    except DecodeError:
        raise Damaged(f"{path} is damaged: it cannot be parsed as a Core ML model.") from None


def _program(path: Path, package: Package) -> tuple[FileFunction, ...]:
    names = sorted(package.functions, key=lambda name: name != package.default_function)
    try:
        return tuple(_function(name, package.functions[name], package.spec.description) for name in names)
    except KeyError as error:
        raise Damaged(f"{path} is damaged: an operation uses {error}, which is not defined.") from None


def _function(name: str, function: mil.Function, description: Message) -> FileFunction:
    converted = of_program(name, function)
    declared = {value.name: value.shape for value in _interface(description, name)[0]}
    inputs = tuple(
        replace(value, shape=declared.get(value.name, value.shape)) if "?" in (value.shape or ()) else value
        for value in converted.inputs
    )
    return replace(converted, inputs=inputs)


def of_program(name: str, function: mil.Function) -> FileFunction:
    """Convert a function of a program to the common form.

    Raises:
        KeyError: An operation uses a value that is not defined.
    """
    values = {key: _typed(key, type_) for key, type_ in function.inputs.items()}
    inputs = tuple(values.values())
    values |= {key: _constant(key, constant) for key, constant in function.constants.items()}
    operations = []
    for op in function.operations:
        outputs = tuple(_typed(key, type_) for key, type_ in op.outputs)
        arguments, parameters = _arguments(op, function.constants, values)
        operations.append(
            FileOperation(
                type=op.type,
                name=op.name,
                inputs=tuple(value for _, value in arguments),
                outputs=outputs,
                parameters=parameters,
                input_names=tuple(key for key, _ in arguments),
            )
        )
        values |= {value.name: value for value in outputs}
    return FileFunction(name, inputs, tuple(values[output] for output in function.outputs), tuple(operations))


def _arguments(
    op: mil.Operation, constants: Mapping[str, mil.Constant], values: Mapping[str, Value]
) -> tuple[list[tuple[str, Value]], dict[str, Parameter]]:
    """An operation's named values, and as parameters the constants in the program itself."""
    arguments: list[tuple[str, Value]] = []
    parameters: dict[str, Parameter] = {}
    for key, bindings in op.inputs.items():
        for binding in bindings:
            constant = constants.get(binding) if isinstance(binding, str) else binding
            if constant is not None and constant.stored_bytes == 0 and len(bindings) == 1 and _is_small(constant):
                parameters[key] = _plain(constant)
            elif isinstance(binding, str):
                arguments.append((key, values[binding]))
            else:
                arguments.append((key, _constant(f"{op.name}.{key}", binding)))
    return arguments, parameters


def _is_small(constant: mil.Constant) -> bool:
    return constant.value.size <= SMALL if isinstance(constant.value, np.ndarray) else True


def _plain(constant: mil.Constant) -> Parameter:
    return tuple(constant.value.ravel().tolist()) if isinstance(constant.value, np.ndarray) else constant.value


def _typed(name: str, type_: mil.ValueType) -> Value:
    return Value(name=name, dtype=type_.dtype, shape=tuple("?" if axis is None else axis for axis in type_.shape))


def _constant(name: str, constant: mil.Constant) -> Value:
    shape = tuple(axis for axis in constant.type.shape if axis is not None)
    stored = (prod(shape) * element_bits(constant.type.dtype) + 7) // 8 if constant.stored_bytes else 0
    plain = _plain(constant) if _is_small(constant) else ()
    return Value(
        name=name,
        dtype=constant.type.dtype,
        shape=shape,
        is_constant=True,
        stored_bytes=stored,
        elements=plain if isinstance(plain, tuple) else (plain,),
    )


def _layers(spec: Message, kind: str) -> FileFunction:
    """The layers of a neural network; for any other kind the model itself as one operation."""
    inputs, outputs = _interface(spec.description, MAIN)
    operations = [FileOperation(type=kind, name=kind, inputs=inputs, outputs=outputs)]
    if kind.startswith("neuralNetwork"):
        operations = [
            FileOperation(
                type=layer.WhichOneof("layer") or "nothing",
                name=layer.name,
                inputs=(*(Value(name=name, dtype="unknown", shape=None) for name in layer.input), *_weights(layer)),
                outputs=tuple(Value(name=name, dtype="unknown", shape=None) for name in layer.output),
            )
            for layer in getattr(spec, kind).layers
        ]
    return FileFunction(MAIN, inputs, outputs, tuple(operations))


def _weights(layer: Message) -> Iterator[Value]:
    """The weights of a layer."""
    from google.protobuf import message

    kind = layer.WhichOneof("layer")
    for field, weights in getattr(layer, kind).ListFields() if kind else ():
        if isinstance(weights, message.Message) and weights.DESCRIPTOR.name == "WeightParams":
            stored = 4 * len(weights.floatValue) + len(weights.float16Value) + len(weights.rawValue)
            yield Value(
                name=f"{layer.name}.{field.name}",
                dtype="weights",
                shape=None,
                is_constant=True,
                stored_bytes=stored + len(weights.int8RawValue),
            )


def _feature(feature: Message) -> Value:
    """An input or output from the description."""
    kind = feature.type.WhichOneof("Type") or "nothing"
    if kind == "imageType":
        return Value(name=feature.name, dtype="image", shape=(1, *_image(feature.type.imageType)))
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        known = array.ArrayDataType.values()
        dtype = array.ArrayDataType.Name(array.dataType).lower() if array.dataType in known else "unknown"
        return Value(name=feature.name, dtype=dtype.replace("double", "float64"), shape=tuple(_array(array)))
    return Value(name=feature.name, dtype=kind.removesuffix("Type"), shape=())


def _image(image: Message) -> tuple[Axis, ...]:
    """The shape (C, H, W) of an image; flexible sides are open."""
    channels = _COLOURS.get(image.colorSpace, 3)
    flexibility = image.WhichOneof("SizeFlexibility")
    if flexibility == "enumeratedSizes":
        sizes = [(each.height, each.width) for each in image.enumeratedSizes.sizes]
        return (channels, *map(_choice, zip(*sizes, strict=True)))
    if flexibility == "imageSizeRange":
        return (channels, *map(_range, (image.imageSizeRange.heightRange, image.imageSizeRange.widthRange)))
    return (channels, image.height, image.width)


def _array(array: Message) -> Iterator[Axis]:
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "enumeratedShapes":
        shapes = [tuple(each.shape) for each in array.enumeratedShapes.shapes]
        return map(_choice, zip(*shapes, strict=True))
    if flexibility == "shapeRange":
        return map(_range, array.shapeRange.sizeRanges)
    return map(int, array.shape)


def _choice(lengths: Iterable[int]) -> Axis:
    several = sorted(set(lengths))
    return several[0] if len(several) == 1 else "|".join(map(str, several))


def _range(bounds: Message) -> Axis:
    """An axis between two bounds; an upper bound of -1 means unbounded."""
    lower, upper = bounds.lowerBound, bounds.upperBound
    return int(lower) if lower == upper else f"{lower}..{'' if upper < 0 else upper}"
