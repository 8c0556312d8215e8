"""Networks: their names become references, with weights, which artifacts are made from and compared with.

``open`` is the one door; ``protocols`` is all that a proof knows of a network. A network knows no proof.
It may import common, images, catalog, graph, formats, artifact, weights and quantise.
"""
