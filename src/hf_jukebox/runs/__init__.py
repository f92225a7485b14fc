"""A run as a folder: what was asked for, the codes as they are drawn, and where drawing stands."""
