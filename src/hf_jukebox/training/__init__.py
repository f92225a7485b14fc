"""Training: data, losses, the loop and what it saves. The commands train and encode are thin layers over it."""
