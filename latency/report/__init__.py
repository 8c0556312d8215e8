"""Reports on results files: one view of them, written as HTML, Markdown or CSV (:mod:`latency.report.writing`).

It owns tables, plots and sentences. It may import common and the results, statistics and judgement of latency.
"""
