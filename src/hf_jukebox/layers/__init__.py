"""Layers of the networks, built from plain numbers: no configs, no files."""
