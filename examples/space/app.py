"""The web app as a Space of the Hugging Face Hub; `python app.py` runs it on this machine too.

Settings are environment variables: JUKEBOX_MODEL (folder or repository; the demo model by default), JUKEBOX_RUNS (a
folder for the runs) and JUKEBOX_TOKEN (password; on a Space one is made up and printed to its log, so that strangers do
not fill its queue).
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from hf_jukebox.app.server import serve
from hf_jukebox.app.settings import AppSettings, new_token
from hf_jukebox.cli.models import load_pipeline
from hf_jukebox.cli.options import ModelOptions
from hf_jukebox.cli.terminal import command_errors
from hf_jukebox.console.signals import handle_signals, work_to_keep


def main() -> None:
    """Serve on every address of a Space, and on this machine alone elsewhere."""
    is_space = "SPACE_ID" in os.environ
    token = os.environ.get("JUKEBOX_TOKEN") or (new_token() if is_space else None)
    settings = AppSettings(
        runs=Path(os.environ.get("JUKEBOX_RUNS", "jukebox-runs")),
        host="0.0.0.0" if is_space else "127.0.0.1",
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        token=token,
    )
    options = ModelOptions(os.environ.get("JUKEBOX_MODEL"))

    def say_address(port: int) -> None:
        print(f"http://localhost:{port}{f'/?token={quote(token)}' if token else ''}", flush=True)

    handle_signals("app.py")
    with command_errors(), work_to_keep():
        serve(settings, lambda: load_pipeline(options), say_address)


if __name__ == "__main__":
    main()
