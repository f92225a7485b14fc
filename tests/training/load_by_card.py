"""Runs the Python of the cards of some Hub repositories, and saves the models that it loads.

load_by_card.py FOLDER REPOSITORY ...
"""

import re
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from safetensors.torch import save_file


def main(folder: Path, repositories: list[str]) -> None:
    for repository in repositories:
        names: dict[str, Any] = {}
        for code in re.findall(r"```python\n(.*?)```", ModelCard.load(repository).content, re.DOTALL):
            exec(code, names)
        for name in {"model", "prior"} & names.keys():
            file = folder / f"{repository.replace('/', '-')}-{name}.safetensors"
            save_file({key: each.clone() for key, each in names[name].state_dict().items()}, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
