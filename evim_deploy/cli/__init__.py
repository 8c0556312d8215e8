"""The command line: each command a thin wrapper over an importable function."""
