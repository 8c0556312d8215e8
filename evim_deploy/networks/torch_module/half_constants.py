"""Rounding to float16 of the numbers in a network's code: 0.17 in ``x * 0.17``, a slope, the scale of attention.

Weights are not the only constants of an artifact. Core ML's float16 pass and an ONNX file in half precision store the
numbers in a network's code in float16, too. They are rounded here, before the network is written and before it is
compared: every format stores the same numbers, and converters have nothing left to round.

Some of torch's functions contain numbers, which each converter writes in its own way, such as 1/6 in hardswish. They
are replaced by simpler functions with float16 numbers. Others are one operation in every format, such as GELU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from evim_deploy.networks.torch_module.folding import flat


class HalfNumbers(TorchFunctionMode):
    """Rounds the numbers among the arguments of torch's functions, while it is active.

    A float32 tensor beside a float16 one, such as a mask that was cast, is rounded to float16. Computations in float32
    alone, such as the variance of some norms, stay in float32. A tensor made of numbers, such as a table of positions,
    is computed in float32, and rounded beside another tensor.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _WRITTEN_OUT:
            return _WRITTEN_OUT[func](*args, **kwargs)
        tensors = [each for each in flat([*args, *kwargs.values()]) if isinstance(each, Tensor)]
        if all(map(_is_made_of_numbers, tensors)):
            result = func(*args, **kwargs)
            if isinstance(result, Tensor):
                setattr(result, _MARK, True)
            return result
        name = getattr(func, "__name__", "")
        if name in _WITHOUT_OPERANDS:
            return func(*args, **kwargs)
        convert = _Conversion(tensors, rounds_integers=name.strip("_") in _ARITHMETIC)
        if _IN_PLACE.fullmatch(name):
            first, *others = args
            vars(first).pop(_MARK, None)
            return func(first, *convert(others), **convert(kwargs))
        return func(*convert(args), **convert(kwargs))


class _Conversion:
    """Rounding of the arguments of a function beside some tensors."""

    def __init__(self, tensors: Iterable[Tensor], rounds_integers: bool) -> None:
        dtypes = {tensor.dtype for tensor in tensors}
        self._is_half = torch.float16 in dtypes
        self._rounds_integers = rounds_integers and bool(dtypes & {torch.float16, torch.float32})

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if type(value) is float or (type(value) is int and self._rounds_integers):
            return half(value)
        if type(value) in (list, tuple):
            return type(value)(map(self, value))
        return {key: self(each) for key, each in value.items()} if type(value) is dict else value

    def _tensor(self, tensor: Tensor) -> Any:
        if _is_length(tensor) and self._rounds_integers:
            return half(int(tensor))
        if tensor.dtype != torch.float32:
            return tensor
        if self._is_half:
            return tensor.half()
        return _constant(tensor.half().float()) if hasattr(tensor, _MARK) else tensor


def half(number: float) -> float:
    """The nearest float16 number, but not infinity for a finite number, nor 0 for a small number such as an eps.

    A float16 number is returned as it is, so that an integer stays an integer.
    """
    size = abs(number)
    nearest = float(np.float16(min(size, _LARGEST)))
    if size in (nearest, math.inf) or math.isnan(number):
        return number
    return math.copysign(max(nearest, _SMALLEST), number)


def _is_made_of_numbers(tensor: Tensor) -> bool:
    return hasattr(tensor, _MARK) or _is_length(tensor)


def _is_length(tensor: Tensor) -> bool:
    """Whether it is the length of an axis, which is a tensor itself where torch.jit traces a network."""
    return _is_traced() and tensor.ndim == 0 and tensor.dtype == torch.int64


def _constant(tensor: Tensor) -> Tensor:
    """A tensor as a constant of the trace: a converter that computes it again might round it differently."""
    return torch.from_numpy(tensor.numpy()) if _is_traced() else tensor


def _is_traced() -> bool:
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def _selu(x: Tensor, inplace: bool = False) -> Tensor:
    return F.elu(x, half(1.6732632423543772)) * half(1.0507009873554805)


def _celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    scale = half(alpha)
    return F.elu(x / scale) * scale


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    scale = half(beta)
    return F.softplus(x * scale) / scale


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """(B, heads, L, E), (B, heads, S, E), (B, heads, S, V) -> (B, heads, L, V)"""
    number = int(query.shape[-1]) ** -0.5 if scale is None else scale
    if enable_gqa:
        key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
    with HalfNumbers():
        scores = query * number @ key.transpose(-2, -1)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -_LARGEST) if attn_mask.dtype == torch.bool else scores + attn_mask
        return scores.softmax(-1) @ value


def _variance(
    x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, correction: Any = None
) -> Tensor:
    """The mean of squares times a number, n / (n - 1), where the variance is unbiased."""
    axes, correction = (None, dim) if isinstance(dim, bool) else (dim, unbiased if correction is None else correction)
    axes = list(range(x.ndim)) if axes is None else axes
    count = prod(int(x.shape[axis]) for axis in ([axes] if isinstance(axes, int) else axes))
    ratio = count / (count - int(True if correction is None else correction))
    variance = x.var(axes, correction=0, keepdim=keepdim)
    return variance if ratio == 1 else variance * half(ratio)


def _deviation(*args: Any, **kwargs: Any) -> Tensor:
    return _variance(*args, **kwargs).sqrt()


_WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.selu: _selu,
    F.celu: _celu,
    torch.selu: _selu,
    torch.celu: _celu,
    F.softplus: _softplus,
    torch.var: _variance,
    torch.std: _deviation,
    Tensor.var: _variance,
    Tensor.std: _deviation,
    F.scaled_dot_product_attention: _attention,
}

_MARK = "evim_made_of_numbers"
"""Attribute of tensors that depend on no image and no weight."""

_WITHOUT_OPERANDS = ("interpolate", "upsample", "dropout")
"""Functions whose numbers are not operands: sizes, probabilities."""

_IN_PLACE = re.compile(r"(?!_).*_|__i\w+__|__setitem__")
"""Names of functions that write into their first argument, which must stay the same tensor."""

_ARITHMETIC = ("add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "rdiv", "rtruediv", "where", "clamp")
"""Functions whose integers are operands, by their names without underscores."""

_LARGEST, _SMALLEST = 65504.0, 2.0**-24
"""The largest finite float16 number, and the smallest positive one."""
