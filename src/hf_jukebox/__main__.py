"""Entry point of `hf-jukebox` and `python -m hf_jukebox`."""

from .console.signals import handle_signals


def main() -> None:
    """Run the command line; handle Ctrl-C first, so that it ends the slow imports with one line too."""
    handle_signals("hf-jukebox")

    from .cli.commands import main as run

    run()


if __name__ == "__main__":
    main()
