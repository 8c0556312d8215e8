"""Elementwise operations of MIL, against the formulas of their specification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mil_cases import Array, Case, Cases, Draw, check, of
from scipy.special import erf

Formula = Callable[..., Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def unary(formula: Formula, low: float = -3, high: float = 3) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        x = draw.array(*draw.shape(1, 5), low=low, high=high)
        return of(formula(x), x=x)

    return make


def with_integers(formula: Formula) -> Callable[[Draw], Case]:
    """Draw floats or integers; integers remain integers."""

    def make(draw: Draw) -> Case:
        x = draw.integers(*draw.shape(1, 4)) if draw.flag() else draw.array(*draw.shape(1, 4))
        return of(formula(x).astype(x.dtype), x=x)

    return make


def with_numbers(formula: Formula, *names: str, low: float = -3) -> Callable[[Draw], Case]:
    """Draw x and scalar parameters."""

    def make(draw: Draw) -> Case:
        x = draw.array(*draw.shape(1, 5), low=low, high=3)
        numbers = {name: draw.number() for name in names}
        return of(formula(x, **numbers), x=x, **numbers)

    return make


def with_epsilon(formula: Formula, default: float) -> Callable[[Draw], Case]:
    """Draw x and an optional epsilon."""

    def make(draw: Draw) -> Case:
        x = draw.array(*draw.shape(1, 4), low=0.1, high=3)
        epsilon = draw.number() if draw.flag() else None
        return of(formula(x + (default if epsilon is None else epsilon)), x=x, epsilon=epsilon)

    return make


def per_channel(formula: Formula, *names: str) -> Callable[[Draw], Case]:
    """Draw x (B, C, H, W) and parameters over its channels."""

    def make(draw: Draw) -> Case:
        x = draw.array(*draw.shape(4, 4), low=-3, high=3)
        vectors = {name: draw.array(x.shape[1]) for name in names}
        broadcast = {name: vector[:, None, None] for name, vector in vectors.items()}
        return of(formula(x, **broadcast), x=x, **vectors)

    return make


def gelu(draw: Draw) -> Case:
    x, mode = draw.array(*draw.shape(1, 4), low=-4, high=4), draw.choice(None, "EXACT", "TANH", "SIGMOID")
    formulas: dict[str | None, Formula] = {
        "TANH": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        "SIGMOID": lambda x: x * sigmoid(1.702 * x),
    }
    y = formulas.get(mode, lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))))(x)
    return of(y, x=x, mode=f"{mode}_APPROXIMATION" if mode in formulas else mode)


def softmax(draw: Draw) -> Case:
    x = draw.array(*draw.shape(1, 5), low=-60, high=60)
    axis = draw.choice(None, draw.axis(x.ndim))
    powers = np.exp(x - x.max())
    return of(powers / powers.sum(-1 if axis is None else axis, keepdims=True), x=x, axis=axis)


def clip(draw: Draw) -> Case:
    x, alpha = draw.array(*draw.shape(1, 4)), draw.number(-1, 0)
    return of(np.clip(x, alpha, alpha + 1), x=x, alpha=alpha, beta=alpha + 1)


def cast(draw: Draw) -> Case:
    kinds = {
        "int32": np.int32,
        "int8": np.int8,
        "uint8": np.uint8,
        "fp32": np.float64,
        "fp16": np.float64,
        "bool": bool,
    }
    name = draw.choice(*kinds)
    x = draw.eighths(*draw.shape(1, 4), low=0 if name == "uint8" else -40)
    return of(
        np.trunc(x).astype(kinds[name]) if "int" in name else x.astype(kinds[name]), x=x, dtype=name, opset="iOS17"
    )


def binary(formula: Formula, *, kinds: str = "fi", boolean: bool = False) -> Callable[[Draw], Case]:
    """Draw two operands of floats, integers or booleans (``kinds``); either may broadcast or be a scalar."""

    def operand(draw: Draw, kind: str, shape: tuple[int, ...]) -> Any:
        if kind == "b":
            return draw.integers(*shape, low=0, high=1).astype(bool)
        least = draw.integers(*shape, low=1, high=6)
        signed = least * np.where(draw.integers(*shape, low=0, high=1), 1, -1)  # divisors other than 0
        return signed.astype(np.int32) if kind == "i" else signed / 8

    def make(draw: Draw) -> Case:
        kind = draw.choice(*kinds)
        shape = draw.shape(1, 4)
        shapes = [tuple(side if draw.flag() else 1 for side in shape)[draw.integer(0, len(shape) - 1) :], shape]
        first, second = (operand(draw, kind, each) for each in (shapes if draw.flag() else shapes[::-1]))
        if draw.integer(0, 4) == 0 and kind != "b":
            second = operand(draw, kind, ()).item()
        z = np.asarray(formula(first, second))
        return of(z if boolean else z.astype(first.dtype), x=first, y=second, computed=("x",))

    return make


def power(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    x, y = draw.array(*shape, low=0.2, high=2), draw.array(*shape, low=-3, high=3)
    return of(x**y, x=x, y=y, computed=("x", "y"))


def select(draw: Draw) -> Case:
    shape = draw.shape(1, 4)
    cond = draw.integers(*shape, low=0, high=1).astype(bool)
    a, b = draw.array(*shape), draw.choice(draw.array(*shape), draw.array(shape[-1]), draw.number())
    return of(np.where(cond, a, b), cond=cond, a=a, b=b, computed=("a",))


CASES: Cases = {
    # activations
    "clamped_relu": with_numbers(
        lambda x, alpha, beta: np.minimum(beta, np.where(x >= 0, x, alpha * x)), "alpha", "beta"
    ),
    "elu": with_numbers(lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)), "alpha"),
    "gelu": gelu,
    "leaky_relu": with_numbers(lambda x, alpha: np.where(x >= 0, x, alpha * x), "alpha"),
    "linear_activation": with_numbers(lambda x, alpha, beta: alpha * x + beta, "alpha", "beta"),
    "prelu": per_channel(lambda x, alpha: np.where(x > 0, x, alpha * x), "alpha"),
    "relu": unary(lambda x: np.maximum(x, 0)),
    "relu6": unary(lambda x: np.minimum(np.maximum(x, 0), 6), -8, 8),
    "scaled_tanh": with_numbers(lambda x, alpha, beta: alpha * np.tanh(beta * x), "alpha", "beta"),
    "sigmoid": unary(sigmoid, -9, 9),
    "sigmoid_hard": with_numbers(lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1), "alpha", "beta"),
    "silu": unary(lambda x: x * sigmoid(x), -9, 9),
    "softmax": softmax,
    "softplus": unary(lambda x: np.log(1 + np.exp(x)), -30, 30),
    "softplus_parametric": per_channel(lambda x, alpha, beta: alpha * np.log(1 + np.exp(beta * x)), "alpha", "beta"),
    "softsign": unary(lambda x: x / (1 + np.abs(x))),
    "thresholded_relu": with_numbers(lambda x, alpha: np.where(x >= alpha, x, 0), "alpha"),
    # one operand
    "abs": with_integers(np.abs),
    "acos": unary(np.arccos, -1, 1),
    "asin": unary(np.arcsin, -1, 1),
    "atan": unary(np.arctan),
    "atanh": unary(np.arctanh, -0.9, 0.9),
    "cast": cast,
    "ceil": unary(np.ceil),
    "clip": clip,
    "cos": unary(np.cos),
    "cosh": unary(np.cosh),
    "erf": unary(erf),
    "exp": unary(np.exp),
    "exp2": unary(np.exp2),
    "floor": unary(np.floor),
    "identity": unary(lambda x: x),
    "inverse": with_epsilon(lambda x: 1 / x, 1e-4),
    "log": with_epsilon(np.log, 1e-45),
    "logical_not": lambda draw: (lambda x: of(~x, x=x))(draw.integers(*draw.shape(1, 4), low=0, high=1).astype(bool)),
    "round": unary(np.round),
    "rsqrt": with_epsilon(lambda x: 1 / np.sqrt(x), 1e-12),
    "sign": with_integers(np.sign),
    "sin": unary(np.sin),
    "sinh": unary(np.sinh),
    "sqrt": unary(np.sqrt, 0, 9),
    "square": with_integers(np.square),
    "tan": unary(np.tan, -1.3, 1.3),
    "tanh": unary(np.tanh),
    "threshold": with_numbers(lambda x, alpha: np.where(x < alpha, alpha, x), "alpha"),
    # two operands
    "add": binary(np.add),
    "equal": binary(np.equal, boolean=True),
    "floor_div": binary(np.floor_divide),
    "greater": binary(np.greater, boolean=True),
    "greater_equal": binary(np.greater_equal, boolean=True),
    "less": binary(np.less, boolean=True),
    "less_equal": binary(np.less_equal, boolean=True),
    "logical_and": binary(np.logical_and, kinds="b"),
    "logical_or": binary(np.logical_or, kinds="b"),
    "logical_xor": binary(np.logical_xor, kinds="b"),
    "maximum": binary(np.maximum),
    "minimum": binary(np.minimum),
    "mod": binary(np.mod),
    "mul": binary(np.multiply),
    "not_equal": binary(np.not_equal, boolean=True),
    "pow": power,
    "real_div": binary(np.true_divide),
    "select": select,
    "sub": binary(np.subtract),
}


@pytest.mark.parametrize("op", CASES)
def test_operation_computes_its_formula(op: str) -> None:
    check(op, CASES[op])
