"""Reports on results files: one view of them, written as HTML, Markdown or CSV (:mod:`latency.report.writing`)."""
