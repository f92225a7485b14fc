"""What holds for every test."""

import os

# One thread a process: the models are tiny, and `pytest -n 2` already uses both cores. It also makes codes comparable
# between a test and the programs that it starts: sums are rounded differently where threads share them.
os.environ["OMP_NUM_THREADS"] = "1"
