"""From image files to the pixels that a network takes, and the images that ship with the package.

It owns preprocessing and the decoding of samples. It imports ``common`` alone.
"""
