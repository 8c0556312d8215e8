"""The formats that a torch module can be written in; the same verbs as :mod:`exporters`.

A servable module takes what the artifact takes, (B, 3, H, W) in float32, and gives one tensor, the target's output.
"""
