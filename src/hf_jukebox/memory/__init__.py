"""Memory management: batch sizes that fit, and priors left on disk."""
