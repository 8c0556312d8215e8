"""Suffixes of names in our ONNX files."""

CHANNELS_LAST = "/channels_last"
"""Suffix of a value whose last axis is the channels; for all others it is the second axis."""

SCALE = ".scale"
"""Suffix of the scales of 8-bit weights, one for each output channel, after the weights' name."""

UNSIGNED = 128
"""Zero point of uint8 weights."""
