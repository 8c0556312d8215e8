"""evim-deploy: EfficientViM checkpoints to ONNX, Core ML and TFLite artifacts that were checked."""

__version__ = "0.1.0"
