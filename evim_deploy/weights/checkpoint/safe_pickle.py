"""An unpickler that builds plain containers and descriptions of tensors, and nothing else.

A pickle is a program, which may name any function of the process and call it. Here a name is never looked up: it
stands for an entry of a closed table, or for :class:`Inert`, which accepts every operation of the program and stores
nothing. Tensors are not built while the program runs, only described (:class:`TensorRef`): an argument from the file
is checked before it reaches torch.

Two more attacks are prevented. Every class that a program can reach has a ``__setstate__``, so the BUILD opcode cannot
set an attribute, neither on an object nor on a class of ours. And dicts store string keys alone, so a nested tuple is
never hashed: Python's hash of a deep tuple overflows the C stack, and that of a tuple built from shared parts never
ends. ``torch.load(weights_only=True)`` hashes such keys, and crashes or hangs.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import IO, Any, ClassVar

import torch


class Inert:
    """Placeholder of a foreign object: accepts any arguments, calls, items and state, and stores none."""

    __slots__ = ()

    def __new__(cls, *_args: object, **_options: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *_args: object, **_options: object) -> None:
        pass

    def __call__(self, *_args: object, **_options: object) -> Inert:
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    def add(self, item: object) -> None:
        pass


class StorageRef(Inert):
    """A storage by its key in the file, with the dtype and number of elements that the file states, unchecked."""

    __slots__ = ("dtype", "elements", "key")

    dtype: torch.dtype
    key: str
    elements: int

    def __new__(cls, dtype: torch.dtype, key: str, elements: int) -> StorageRef:
        self: StorageRef = super().__new__(cls)
        self.dtype, self.key, self.elements = dtype, key, elements
        return self


class TensorRef(Inert):
    """A description of a tensor in the file: the arguments of ``torch._utils._rebuild_tensor_v2``, unchecked.

    It is a view (``offset``, ``size``, ``stride``, in elements) of a storage. A tensor of a storage that is not in the
    table (quantised, complex) is an :class:`Inert`.
    """

    __slots__ = ("offset", "size", "storage", "stride")

    storage: StorageRef
    offset: object
    size: object
    stride: object

    def __new__(cls, storage: object, offset: object, size: object, stride: object, *_flags: object) -> Any:
        if not isinstance(storage, StorageRef):
            return Inert()
        self: TensorRef = super().__new__(cls)
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride
        return self


class _Parameter(Inert):
    """``torch._utils._rebuild_parameter``: a parameter is its tensor."""

    __slots__ = ()

    def __new__(cls, data: object, *_flags: object) -> Any:
        return data


class _PlainTensor(Inert):
    """``torch.Tensor`` where a pickle names the class."""

    __slots__ = ()


class _OfType(Inert):
    """``torch._tensor._rebuild_from_type_v2``: a tensor with attributes of its own becomes the plain tensor.

    A tensor of another class, which may store its numbers in another form, is an :class:`Inert`.
    """

    __slots__ = ()

    def __new__(cls, build: object, kind: object, arguments: object, *_state: object) -> Any:
        is_tensor = kind is _PlainTensor and (build is TensorRef or build is _Parameter)
        return build(*arguments) if is_tensor and isinstance(arguments, tuple) else Inert()  # type: ignore[operator]


class PlainDict(dict[str, object]):
    """A dict, or the replacement of an OrderedDict. Entries under other keys than strings are dropped."""

    __slots__ = ()

    def __init__(self, items: Iterable[tuple[object, object]] = ()) -> None:
        super().__init__()
        for key, value in items:
            self[key] = value

    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(key, str):
            super().__setitem__(key, value)

    def __setstate__(self, state: object) -> None:
        pass


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): PlainDict,
    ("torch._utils", "_rebuild_tensor"): TensorRef,
    ("torch._utils", "_rebuild_tensor_v2"): TensorRef,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _Parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _OfType,
    ("torch", "Tensor"): _PlainTensor,
    ("torch.nn.parameter", "Parameter"): _PlainTensor,
    # Files written on a GPU before torch 1.6 name the storage's class in torch.cuda.
    **{(module, name): dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
}


# The interpreter in Python, not the one in C: only here can the opcodes that make dicts and sets be replaced.
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes]) -> None:
        # latin1 decodes every byte: strings that Python 2 wrote need not be text.
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, StorageRef] = {}

    def find_class(self, module: str, name: str) -> object:
        return _KNOWN.get((module, name), Inert)

    def persistent_load(self, pid: object) -> object:
        """A storage, from ``("storage", class, key, location, elements)`` and, in old files, a view of it."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            return Inert  # a class: old files describe those of pickled modules in this way
        _, dtype, key, _location, elements, *view = pid
        if any(part is not None for part in view):
            raise pickle.UnpicklingError("it holds storage views as torch wrote them before 0.4")
        if not isinstance(dtype, torch.dtype):
            return Inert()
        if not isinstance(key, str) or type(elements) is not int:
            raise pickle.UnpicklingError("it describes a storage wrongly")
        return self.storages.setdefault(key, StorageRef(dtype, key, elements))

    def _empty_dict(self: Any) -> None:
        self.append(PlainDict())

    def _dict(self: Any) -> None:
        items = self.pop_mark()
        self.append(PlainDict(zip(items[::2], items[1::2], strict=True)))

    def _empty_set(self: Any) -> None:
        self.append(Inert())

    def _frozenset(self: Any) -> None:
        self.pop_mark()
        self.append(Inert())

    dispatch[pickle.EMPTY_DICT[0]] = _empty_dict
    dispatch[pickle.DICT[0]] = _dict
    dispatch[pickle.EMPTY_SET[0]] = _empty_set
    dispatch[pickle.FROZENSET[0]] = _frozenset


def load(file: IO[bytes]) -> tuple[object, dict[str, StorageRef]]:
    """The object that the next pickle in the file describes, and the storages that it names, by key.

    The object has a :class:`TensorRef` for every tensor and an :class:`Inert` for every foreign object.

    Raises:
        pickle.UnpicklingError: The pickle is damaged, or made to do harm.
    """
    unpickler = _Unpickler(file)
    try:
        return unpickler.load(), unpickler.storages
    except Exception as error:  # a damaged program may fail in any way that an interpreter can
        raise pickle.UnpicklingError(f"its pickle cannot be read ({type(error).__name__}: {error})") from error
