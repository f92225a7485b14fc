"""Drawing codes from a prior: windows, the draw of one code, one level from its start to its end."""
