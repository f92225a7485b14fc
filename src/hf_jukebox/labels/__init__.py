"""Names, characters and lyrics that label a window."""
