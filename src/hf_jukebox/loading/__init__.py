"""Models and pipelines from folders and the Hub, checked before they are loaded."""
