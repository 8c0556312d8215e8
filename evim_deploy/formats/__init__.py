"""The content of model files of each format, read from disk in one common form; also the ONNX and TFLite writers.

May import common alone; knows no graph, no engine and no manifest. ``read(path)`` gives any file as :class:`ModelFile`.
"""

from evim_deploy.formats.model_file import Axis, FileFunction, FileOperation, ModelFile, Parameter, Value
from evim_deploy.formats.reader import SUFFIXES, read

__all__ = ["SUFFIXES", "Axis", "FileFunction", "FileOperation", "ModelFile", "Parameter", "Value", "read"]
