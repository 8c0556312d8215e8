"""Latency measurement: plan the cases, time them in processes of their own, judge the samples and report on them."""
