"""Run onnx2tf: this file is a program that runs in onnx2tf's environment, in a temporary folder.

That environment may have another Python and has none of our packages. onnx2tf exits the process on failure, runs other
programs on its input, and reads sample images from its working directory. Only its Keras model is used: writing its
other files takes most of its time.

    python -I onnx2tf_process.py INPUT.onnx OUTPUT.tflite
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx2tf
import tensorflow as tf

_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""Images for onnx2tf's comparisons, values 0 to 1; onnx2tf would download a missing file."""

_OPTIONS: dict[str, dict[str, str]] = {"1": {}, "2": {"tflite_backend": "tf_converter"}}
"""Options by major version. The other backend of 2.x writes more transposes, and slices that XNNPACK rejects."""


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
    converter.experimental_lower_to_saved_model = False  # it takes half of the time
    # operations that TFLite lacks are kept, so that a message can name them
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    Path(destination).write_bytes(converter.convert())


if __name__ == "__main__":
    _convert(*sys.argv[1:])
