"""Files of weights: the sources a user can name, downloads from the Hugging Face hub, and reading state dicts.

It knows no network: the names of a network's parameters are arguments.
It may import common, images and catalog.
"""
