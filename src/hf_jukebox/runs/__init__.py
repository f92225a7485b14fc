"""A run as a folder: its request, the codes sampled so far, and the windows in progress."""
