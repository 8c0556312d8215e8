"""Colours of plots: stand-ins that matplotlib draws in, each of which becomes a variable of the page's style sheet.

matplotlib knows no colour by the name of a variable, so it draws in hexadecimal values that nothing else uses.
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
    **{stand_in: f"var(--series-{number})" for number, stand_in in enumerate(SERIES, 1)},
}
