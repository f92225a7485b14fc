"""`hf-jukebox encode` as a script, to copy and to change; `--help` explains its options."""

from hf_jukebox.encode import main

if __name__ == "__main__":
    main()
