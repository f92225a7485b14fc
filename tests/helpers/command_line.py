"""Commands of `hf-jukebox`, run within the process of a test."""

from typer.testing import CliRunner, Result

from hf_jukebox.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
