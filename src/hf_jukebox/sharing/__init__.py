"""Models and runs on the Hub: cards, pictures and uploads."""
