"""Colours of plots: placeholders for matplotlib, each replaced by a variable of the page's style sheet.

matplotlib does not support CSS variables, so it draws with hexadecimal values that are used nowhere else.
"""

INK, FAINT, GRID, PAPER = "#00fe01", "#00fe02", "#00fe03", "#00fe04"
SERIES = tuple(f"#00fd{number:02x}" for number in range(1, 10))
GOOD, BAD, UNSURE = "#00fc01", "#00fc02", "#00fc03"

VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--rule)",
    PAPER: "var(--paper)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
    UNSURE: "var(--unsure)",
    **{placeholder: f"var(--series-{number})" for number, placeholder in enumerate(SERIES, 1)},
}
