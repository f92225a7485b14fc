from pathlib import Path

import pytest
from helpers.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny pipeline with labels."""
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline("tiny_labelled_prior").save_pretrained(folder)
    return folder
