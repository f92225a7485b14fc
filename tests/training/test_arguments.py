import pytest

from hf_jukebox.training.arguments import LoopArguments, parse_arguments
from hf_jukebox.training.data import DataArguments
from hf_jukebox.training.prior_arguments import PriorArguments
from hf_jukebox.training.train_vqvae import VQVAEArguments


def parse(*words: str, kinds: tuple[type, ...] = (LoopArguments,)) -> tuple:
    return parse_arguments(kinds, "Trains.", "A command.", words)


def test_a_file_sets_options_and_the_command_line_takes_precedence(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 1e-3\nmax_train_steps: 50\nuse_ema: false\nresume_from_checkpoint: latest\n")
    (arguments,) = parse("--config", str(file), "--max_train_steps", "70")
    assert arguments == LoopArguments(
        learning_rate=1e-3, max_train_steps=70, use_ema=False, resume_from_checkpoint="latest"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1", "unknown options: learning_rat;"),
        ("mixed_precision: fp8", "invalid choice"),
        ("max_train_steps: many", "invalid int value"),
        ("[1, 2]", "one 'name: value' per line"),
        ("a: b: c", "cannot be read as YAML"),
        ("seed: 1\nseed: 2", "line 2: seed is given twice"),
        ("seed: {a: b}", "seed must have one value, or a list of values"),
        ("max_train_steps: 0", "--max_train_steps must be at least 1, not 0"),
    ],
)
def test_a_faulty_file_ends_with_one_line_and_status_2(tmp_path, capsys, content, message):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        parse("--config", str(file))
    assert stopped.value.code == 2
    said, hint = capsys.readouterr().err.splitlines()
    assert message in said and hint.endswith(" --help")


def test_values_in_a_file_are_read_as_on_the_command_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "\ufeffmixed_precision: no\noutput_dir: 12:30\nhub_model_id: 007\nreport_to: -none\nseed: 010\nuse_ema: off\n"
        "resume_from_checkpoint: ~\nmax_train_steps: 1_000\n",
        "utf-8",
    )
    (arguments,) = parse("--config", str(file))
    assert arguments == LoopArguments(
        mixed_precision="no", output_dir="12:30", hub_model_id="007", report_to="-none", seed=10, use_ema=False,
        max_train_steps=1000,
    )  # fmt: skip


def test_a_file_of_another_encoding_is_named(tmp_path, capsys):
    (tmp_path / "run.yaml").write_bytes(b"output_dir: Beyonc\xe9\n")
    with pytest.raises(SystemExit):
        parse("--config", str(tmp_path / "run.yaml"))
    assert "run.yaml is not UTF-8 text; save it as UTF-8" in capsys.readouterr().err.splitlines()[0]


def test_a_missing_file_is_named(capsys):
    with pytest.raises(SystemExit):
        parse("--config", "nowhere.yaml")
    assert "There is no file nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [VQVAEArguments, PriorArguments])
def test_help_explains_every_option(capsys, kind):
    with pytest.raises(SystemExit):
        parse("--help", kinds=(kind, DataArguments, LoopArguments))
    text = capsys.readouterr().out
    assert "A command." in text
    for group in (kind, DataArguments, LoopArguments):
        for option in group.__dataclass_fields__.values():
            assert f"--{option.name} " in text and len(option.metadata["help"]) > 15, option.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_anneal_steps": 5}, "needs --lr_anneal_start"),
        ({"lr_anneal_start": 100, "max_train_steps": 100}, "leaves no step of 100"),
        ({"ema_decay": 1.0}, "--ema_decay"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"checkpoints_total_limit": 0}, "the newest checkpoint is always kept"),
        ({"lr_warmup_steps": -5}, "--lr_warmup_steps must be at least 0, not -5"),
        ({"sample_steps": -3}, "--sample_steps must be at least 0, not -3"),
        ({"num_samples": 0}, "--num_samples must be at least 1, not 0; --sample_steps 0 turns"),
        ({"num_samples": -1, "sample_steps": 0}, "--num_samples must be at least 0"),
        ({"adam_beta1": 1.0}, "--adam_beta1 must be at least 0 and below 1"),
        ({"adam_beta2": -0.1}, "--adam_beta2 must be at least 0 and below 1"),
        ({"adam_epsilon": -1.0}, "--adam_epsilon must be 0 or above"),
        ({"adam_weight_decay": float("nan")}, "--adam_weight_decay must be 0 or above"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoopArguments(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--vqvae FOLDER_OR_REPO"),
        ({"vqvae": "v", "lora_rank": 4}, "name it with --prior"),
        ({"vqvae": "v", "label_dropout": 2.0}, "between 0 and 1"),
        ({"vqvae": "v", "prior": "p", "alphabet": "a.txt"}, "keeps its sizes and its alphabet"),
    ],
)
def test_invalid_options_of_a_prior_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PriorArguments(**options)


def test_the_rate_warms_up_is_constant_and_decays():
    arguments = LoopArguments(
        learning_rate=1.0, max_train_steps=200, lr_warmup_steps=10, lr_anneal_start=100, lr_anneal_steps=50
    )
    assert [arguments.learning_rate_at(step) for step in (1, 5, 10, 100, 125, 150, 170)] == [0.1, 0.5, 1, 1, 0.5, 0, 0]
