"""Memory that sampling takes, and priors left on disk."""
