"""Results -> matplotlib figure: one figure per file."""
