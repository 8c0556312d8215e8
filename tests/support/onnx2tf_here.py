"""Marker for tests that need an onnx2tf environment on this host."""

from __future__ import annotations

import pytest

from evim_deploy.common.errors import NotInstalled
from exporters.tflite import onnx2tf_environment


def _is_missing() -> bool:
    """Whether the host has no onnx2tf environment; an unusable environment fails the tests instead."""
    try:
        onnx2tf_environment.find()
    except NotInstalled as error:
        return error.cause == onnx2tf_environment.MISSING
    return False


needs_onnx2tf = pytest.mark.skipif(_is_missing(), reason=f"not run on this host: {onnx2tf_environment.MISSING}")
