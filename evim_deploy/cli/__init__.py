"""The command line: the options, messages and tables of each command, which calls one function.

It may import every other package; only ``evim_deploy.__main__`` imports it.
"""
