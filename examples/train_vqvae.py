"""`hf-jukebox train vqvae` as a script, to copy and to change; `--help` explains its options."""

from hf_jukebox.train_vqvae import main

if __name__ == "__main__":
    main()
