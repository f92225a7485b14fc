"""`python -m hf_jukebox.cli`, the same as `hf-jukebox`."""

from .commands import main

if __name__ == "__main__":
    main()
