"""Reading and writing of files: text, YAML, tensors, and atomic replacement."""
