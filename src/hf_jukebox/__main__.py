"""The command `hf-jukebox`, also as `python -m hf_jukebox`."""

from .console.signals import handle_signals


def main() -> None:
    """Run the command line; from here on, before anything else is imported, Ctrl-C ends it with a line."""
    handle_signals("hf-jukebox")

    from .cli.commands import main as run

    run()


if __name__ == "__main__":
    main()
