"""Output, errors and signals of command-line programs."""
