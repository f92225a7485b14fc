"""The command app: the page in a browser, and the interface for programs."""

from __future__ import annotations

import errno
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from ..console.lines import write_line
from ..console.signals import work_to_keep
from .checks import PROGRAM, check_model, check_writable, find_given_device
from .devices import AUTO
from .models import load_pipeline
from .options import DTYPE_HELP, Compile, ModelOptions, path_option
from .terminal import command_errors
from .values import check_choices

if TYPE_CHECKING:
    from ..pipeline_jukebox import JukeboxPipeline


def app(
    model: Annotated[str | None, typer.Argument(help="Folder or Hub repository; the demo model by default.")] = None,
    runs: Annotated[Path, path_option(help="Folder of the runs.", show_default="jukebox-runs")] = Path("jukebox-runs"),
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's asks for a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port; by default the first free one from 7860 on.")] = 0,
    token: Annotated[str | None, typer.Option(help="Password of the page; with --host one is made up.")] = None,
    max_upload: Annotated[int, typer.Option(help="Largest recording, in MiB.")] = 100,
    max_prompt_seconds: Annotated[float, typer.Option(help="Longest recording.")] = 600.0,
    max_seconds: Annotated[float, typer.Option(help="Longest piece.")] = 600.0,
    max_candidates: Annotated[int, typer.Option(help="Most songs at a time.")] = 8,
    max_queued: Annotated[int, typer.Option(help="Most runs that wait.")] = 50,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the Hub repository.")] = None,
    low_memory: Annotated[bool, typer.Option("--low-memory", help="Keep the priors on disk until needed.")] = False,
    device: Annotated[str | None, typer.Option(help="cuda, mps, cpu, or gpu for any GPU.")] = None,
    dtype: Annotated[str, typer.Option(help=DTYPE_HELP)] = AUTO,
    compile_step: Compile = False,
) -> None:
    """Open a page in the browser to sample, listen, pick and continue; the same server is an interface for programs."""
    with command_errors():
        for name, value in {
            "--max-upload": max_upload, "--max-prompt-seconds": max_prompt_seconds, "--max-seconds": max_seconds,
            "--max-candidates": max_candidates, "--max-queued": max_queued,
        }.items():  # fmt: skip
            if not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}.")
        _check_address(host, port)
        check_choices(device, dtype)
        check_model(model, revision)
        check_writable(runs, "--runs")
        if find_spec("gradio") is None:
            raise ValueError("The app needs Gradio; install it with: pip install 'hf_jukebox[app]'")
        device = find_given_device(device)
        from ..app.server import serve
        from ..app.settings import AppSettings, is_loopback, new_token

        settings = AppSettings(
            runs=runs,
            host=host,
            port=port,
            token=token or (None if is_loopback(host) else new_token()),
            max_upload_bytes=max_upload * 2**20,
            max_prompt_seconds=max_prompt_seconds,
            max_seconds=max_seconds,
            max_candidates=max_candidates,
            max_queued=max_queued,
        )
        options = ModelOptions(model, revision, low_memory, device, dtype)

        def load() -> JukeboxPipeline:
            return load_pipeline(options, compile_step=compile_step)

        def say_address(port: int) -> None:
            shown = "localhost" if settings.is_local else host
            login = "" if settings.token is None else f"/?token={quote(settings.token, safe='')}"
            write_line(f"{PROGRAM}: http://{shown}:{port}{login} (end with Ctrl-C; the runs are in {runs})")

        with work_to_keep():
            serve(settings, load, say_address)


def _check_address(host: str, port: int) -> None:
    """Check that the server can listen on an address; whether the port is free shows later.

    Raises:
        OSError: the port may not be used.
        ValueError: there is no such port, or the host is no address of this machine.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"--port must be between 0 and 65535, not {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return
        if isinstance(error, PermissionError):
            raise OSError(f"--port {port} may not be used by this user; give one from 1024 on.") from error
        raise ValueError(f"--host {host} is no address of this machine; leave it out, or give 0.0.0.0.") from error
