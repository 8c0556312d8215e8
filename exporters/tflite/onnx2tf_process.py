"""onnx2tf in a process of its own: this file is run as a program, in a folder that it may fill.

It runs in onnx2tf's own environment, which may be of another Python and has nothing of ours. onnx2tf ends the process
where it fails, runs programs on its input, and reads a sample picture of its own from the folder that it runs in. Of
what it makes, the Keras model is taken: to write its other files takes most of its time.

    python -I onnx2tf_process.py INPUT.onnx OUTPUT.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx2tf
import tensorflow as tf

_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""What onnx2tf downloads where it is not there: pictures for its comparisons, values 0 to 1."""

_OPTIONS: dict[str, dict[str, str]] = {"1": {}, "2": {"tflite_backend": "tf_converter"}}
"""By major version. The other backend of 2.x writes more transposes, and slices that XNNPACK does not take."""


def _convert(source: str, destination: str) -> None:
    np.save(_SAMPLES, np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32))
    model = onnx2tf.convert(
        input_onnx_file_path=source,
        disable_model_save=True,
        not_use_onnxsim=True,
        verbosity="error",
        **_OPTIONS[onnx2tf.__version__.partition(".")[0]],
    )

    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32)]
    function = tf.function(model.call, input_signature=signature, autograph=False).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_lower_to_saved_model = False  # which would take half of the time
    # what has no operation of TFLite's is kept, so that it can be named
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    Path(destination).write_bytes(converter.convert())


if __name__ == "__main__":
    _convert(*sys.argv[1:])
