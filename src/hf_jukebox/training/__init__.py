"""Training: data, losses, the loop and what it saves. The scripts in examples/ are thin layers over it."""
