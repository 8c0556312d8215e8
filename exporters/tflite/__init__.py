"""TFLite: our graph by TensorFlow or tensor by tensor, and torch modules by onnx2tf.

It owns everything that writes this format. It may import graphs, quantisation schemes and artifacts, and no engine.
"""
