"""The shipped configurations of Accelerate load, and name existing layers and options."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser

from hf_jukebox import JukeboxPrior
from hf_jukebox.layers.transformer import TransformerBlock

FOLDER = Path(__file__).parents[2] / "examples" / "accelerate"


@pytest.mark.parametrize(
    ("name", "kind", "processes"), [("one_gpu", "NO", 1), ("eight_gpus", "MULTI_GPU", 8), ("fsdp", "FSDP", 8)]
)
def test_the_accelerate_configs_load(name, kind, processes):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (config.distributed_type.value, config.num_processes, config.mixed_precision) == (kind, processes, "bf16")


def test_sharding_wraps_our_blocks_with_options_that_exist():
    config = load_config_from_file(str(FOLDER / "fsdp.yaml")).fsdp_config
    options = {action.dest for action in launch_command_parser()._actions}
    assert config.keys() <= options
    assert config["fsdp_version"] == 2
    assert config["fsdp_state_dict_type"] == "SHARDED_STATE_DICT"
    assert config["fsdp_transformer_layer_cls_to_wrap"] == TransformerBlock.__name__
    assert TransformerBlock.__name__ in JukeboxPrior._no_split_modules
