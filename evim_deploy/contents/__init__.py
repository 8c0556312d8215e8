"""What is in a file of a format, read back from disk."""
