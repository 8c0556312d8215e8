"""Read a state dict from a file of torch.save or safetensors, and find it among the contents of a training file.

Nothing in a file is executed: the unpickler and the readers here accept hostile and damaged files.
It may import common and the rest of weights.
"""
