"""Tools that any folder needs: errors, progress, atomic writing, JSON, threads, versions, numerics, the host.

It owns the errors and their exit codes. It imports no other folder.
"""
