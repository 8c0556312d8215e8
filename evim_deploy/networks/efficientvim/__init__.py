"""EfficientViM: the published network, its weights, its lowering to our graph, and its quantisation.

It owns every fact about this architecture.
It may import what networks may, but no other folder of networks.
"""
