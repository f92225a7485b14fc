"""The web app: a page and an interface for programs, on top of run folders."""
