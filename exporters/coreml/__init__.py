"""Core ML: our graph in MIL, and torch modules by coremltools' front end.

It owns everything that writes this format. It may import graphs, quantisation schemes and artifacts, and no engine.
"""
