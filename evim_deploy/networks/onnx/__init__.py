"""Classifiers in ONNX files: reading a file, its logits and last activation, and its graph as a torch module.

It owns the meaning of ONNX's operations in torch. Nothing in a file is executed.
It may import what networks may, and torch_module.
"""
