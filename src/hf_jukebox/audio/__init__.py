"""Sound files and prompts to arrays, and back."""
