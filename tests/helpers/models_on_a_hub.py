"""Loads models from a Hub of its own, reachable and not, and prints as JSON what is said of each, and what was read."""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from helpers.loopback_hub import LoopbackHub

hub = LoopbackHub()
for line in json.loads(sys.argv[1]):
    hub.add(line["name"], Path(line["folder"]))
hub.private.add("me/secret")
threading.Thread(target=hub.serve_forever, daemon=True).start()
os.environ.update(hub.environment(Path(sys.argv[2])))

import diffusers  # noqa: E402
from diffusers import DiffusionPipeline  # noqa: E402
from huggingface_hub import close_session  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoTokenizer  # noqa: E402

from hf_jukebox import JukeboxPipeline, JukeboxPrior, JukeboxVQVAE  # noqa: E402


def said(load: Callable[[], object]) -> str:
    try:
        return f"loaded a {type(load()).__name__}"
    except (OSError, ValueError) as error:
        return f"{error}"


messages = {
    "old prior": said(lambda: JukeboxPrior.from_pretrained("me/old")),
    "old vqvae": said(lambda: JukeboxVQVAE.from_pretrained("me/old")),
    "originals": said(lambda: JukeboxPipeline.from_pretrained("me/originals")),
    "originals as prior": said(lambda: JukeboxPrior.from_pretrained("me/originals")),
    "secret, no token": said(lambda: JukeboxPipeline.from_pretrained("me/secret", token=False)),
    "single": said(lambda: JukeboxPipeline.from_pretrained("me/single")),
    "whole as prior": said(lambda: JukeboxPrior.from_pretrained("me/whole")),
    "other revision": said(lambda: JukeboxPipeline.from_pretrained("me/whole", revision="v9")),
    "prior of other revision": said(lambda: JukeboxPrior.from_pretrained("me/single", revision="v9")),
    "no such": said(lambda: JukeboxPipeline.from_pretrained("me/none")),
    "no such prior": said(lambda: JukeboxPrior.from_pretrained("me/none")),
    "not cached": said(lambda: JukeboxPipeline.from_pretrained("me/whole", local_files_only=True)),
}
read = sorted(set(hub.read))
messages["secret"] = said(lambda: JukeboxPipeline.from_pretrained("me/secret"))
messages["whole"] = said(lambda: JukeboxPipeline.from_pretrained("me/whole"))
messages["low memory"] = JukeboxPipeline.from_pretrained("me/whole", low_memory=True).name_or_path
messages["part"] = said(lambda: JukeboxPrior.from_pretrained("me/whole", subfolder="prior_2"))
generic = {
    "pipeline": lambda: DiffusionPipeline.from_pretrained("me/whole"),
    "model": lambda: AutoModel.from_pretrained("me/single"),
    "part": lambda: AutoModel.from_pretrained("me/whole", subfolder="vqvae"),
    "tokenizer": lambda: AutoTokenizer.from_pretrained("me/labelled", subfolder="tokenizer"),
    "config": lambda: AutoConfig.from_pretrained("me/whole", subfolder="prior_1"),
    "diffusers' model": lambda: diffusers.AutoModel.from_pretrained("me/whole", subfolder="prior_2"),
}
messages["generic"] = {name: said(load) for name, load in generic.items()}  # type: ignore[assignment]
hub.shutdown()
hub.server_close()
close_session()  # its connections would be answered still
messages["cached"] = said(lambda: JukeboxPipeline.from_pretrained("me/whole"))
messages["cached part"] = said(lambda: JukeboxPrior.from_pretrained("me/whole", subfolder="prior_2"))
# Without this switch huggingface_hub waits for an answer for half a minute.
messages["unreachable"] = said(lambda: JukeboxPipeline.from_pretrained("me/other", local_files_only=True))
messages["unreachable prior"] = said(lambda: JukeboxPrior.from_pretrained("me/other", local_files_only=True))
print(json.dumps({"messages": messages, "read": read}))
