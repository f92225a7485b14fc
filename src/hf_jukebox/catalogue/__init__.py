"""Catalogues of codes: songs in which copied stretches of codes are found, after sampling and during it."""
