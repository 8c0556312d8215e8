"""What the names in an ONNX file of ours say beyond the graph's own."""

CHANNELS_LAST = "/channels_last"
"""Ends the name of a value whose channels are its last axis; of all others they are the second."""

SCALE = ".scale"
"""After the name of weights in 8 bits the name of their scales, one for each output channel."""

UNSIGNED = 128
"""What uint8 weights have more than their codes."""
