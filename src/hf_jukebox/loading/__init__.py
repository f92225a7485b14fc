"""Loading of models and pipelines from folders and the Hub, with checks before anything is read."""
