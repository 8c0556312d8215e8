"""The functions that the command line and the Python API call: export, verify, predict, doctor and self-test.

They may import every other folder but ``cli``; ``latency`` stands beside them, and neither imports the other.
"""
