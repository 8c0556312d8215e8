"""Any other network by the same door: one of timm by its name, or a classifier in an ONNX file.

Such a network stays a torch module: nothing lowers it to our graph. It is folded, proven as a whole, and written by
:mod:`exporters`.
"""
