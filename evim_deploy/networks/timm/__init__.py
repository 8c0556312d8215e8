"""Networks of the library timm: their names, weights and preprocessing.

It owns every use of timm's registry.
It may import what networks may, and torch_module.
"""
