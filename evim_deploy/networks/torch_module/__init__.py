"""Networks that stay torch modules: rewrites of a module to its inference form, and its reference.

It owns what is common to any torch module, wherever it comes from.
It may import what networks may, but no other folder of networks; folding knows the layers of timm.
"""
