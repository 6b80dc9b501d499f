"""The command line, one file per command: `add(commands)` returns its parser, whose default `run` does the work."""
