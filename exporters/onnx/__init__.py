"""ONNX: our graph by an emitter and its handlers, and torch modules by PyTorch's exporter.

It owns everything that writes this format. It may import graphs, quantisation schemes and artifacts, and no engine.
"""
