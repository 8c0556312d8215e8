"""Latency measurement: plan the cases, time them in processes of their own, judge the samples and report on them.

It owns the results file and everything that may be said of it. It may import every folder but commands and cli;
``results``, ``statistics`` and ``judgement`` know no model.
"""
