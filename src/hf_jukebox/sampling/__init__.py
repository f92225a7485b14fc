"""Sampling of codes: requests, windows, batches and levels."""
