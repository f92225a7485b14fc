"""Lines, errors and signals of programs that people start."""
