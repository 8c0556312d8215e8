"""An artifact beside its reference, operation by operation: which is the first that diverges, and why."""
