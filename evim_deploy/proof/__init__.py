"""The proof that an artifact equals its model: outputs, stored weights and operations are compared, and golden files.

May import common, images, catalog, graph, artifact, networks and runtimes; knows no exporter and no command.
"""
