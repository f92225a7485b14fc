"""Wrong commands: each ends in a line on stderr and exit status 2, before anything slow is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import run

# Commands that a user may type, and a part of the line to expect; HERE is the folder of the test.
WRONG = [
    ("sample --bogus", "No such option: --bogus"),
    ("smaple", "No such command 'smaple'"),
    ("sample --seconds x", "Invalid value for '--seconds'"),
    ("sample --seconds 0", "--seconds must be a number of seconds above 0, not 0."),
    ("sample --seconds=-3", "--seconds must be a number of seconds above 0, not -3."),
    ("sample --seconds nan", "--seconds must be a number of seconds above 0, not nan."),
    ("sample --seconds inf", "--seconds must be a number of seconds above 0, not inf."),
    ("sample --total-seconds nan", "--total-seconds must be a number"),
    ("sample --prompt-seconds 0", "--prompt-seconds must be a number"),
    ("sample --offset-seconds=-1", "--offset-seconds must be a number"),
    (
        "sample --temperature 0",
        "--temperature must be above 0, at least 1e-30, and finite, not 0.0; to sample",
    ),
    ("sample --temperature nan", "--temperature must be above 0, at least 1e-30, and finite, not nan"),
    ("sample --temperature warm", "--temperature takes one number, or one per level with commas"),
    ("sample --temperature 1,1,1,1", "--temperature takes one number"),
    ("sample --top-k=-1", "--top-k must be 0 (off) or a number of codes, not -1."),
    ("sample --top-k 2.5", "--top-k takes one number"),
    ("sample --top-p 2", "--top-p must be 0 (off) or lie between 0 and 1, not 2."),
    ("sample --top-p 0.9 --top-k 5", "--top-k or --top-p, not both"),
    ("sample --hop-fraction 0.5,nan,0.5", "--hop-fraction must be above 0 and at most 1, not nan."),
    ("sample --levels 7", "--levels takes numbers from 0, the finest, to 2"),
    ("sample --levels top", "not 'top'"),
    ("sample --upsampling fast", "--upsampling must be sequential or parallel, not 'fast'."),
    ("sample --num-samples 0", "--num-samples must be at least 1, not 0."),
    ("sample --max-batch-size 0", "--max-batch-size must be at least 1, not 0."),
    (f"sample --seed {2**64}", "--seed must be at least 0 and less than 2**64"),
    ("sample --seed=-1", "--seed must be at least 0 and less than 2**64, not -1."),
    ("sample --dtype float7", "There is no dtype 'float7'; use float32"),
    ("sample --dtype int8", "There is no dtype 'int8'"),
    ("sample --device nonsense", "There is no device 'nonsense'; use cuda, mps or cpu"),
    ("sample --device meta", "There is no device 'meta'"),
    ("sample --model /no/such/folder", "There is no folder /no/such/folder; check its name."),
    ("sample --model ./none", "There is no folder ./none"),
    ("sample --model ~/none/at/all", "There is no folder ~/none/at/all"),
    ("sample --model HERE/text.txt", "text.txt is a file; give the folder"),
    ("sample --model HERE", "HERE holds checkpoints in the original layout; convert them: hf-jukebox convert"),
    ("sample --model HERE/v.pth.tar", "v.pth.tar is a checkpoint file; convert it once with: hf-jukebox convert"),
    ("resume HERE --revision main", "--revision needs a Hub repository; name it with --model."),
    ("sample --revision main", "The demo model is not a Hub repository"),
    ("sample HERE/none.wav", "There is no file HERE/none.wav"),
    ("sample BACKSLASH", "There is no file \\"),
    ("sample --lyrics la --lyrics-file la.txt", "not both"),
    ("sample --lyrics-file HERE/none.txt", "HERE/none.txt cannot be read"),
    ("sample --lyrics-file HERE/latin1.txt", "latin1.txt is not UTF-8 text; save it as UTF-8"),
    ("sample --requests HERE/none.yaml", "There is no file HERE/none.yaml"),
    ("sample --requests HERE/none.yaml --seconds 3", "--seconds cannot be combined with --requests"),
    ("sample -o HERE/text.txt", "text.txt is a file; give --output a folder."),
    ("sample --output=", "Invalid value for '--output' / '-o': it is empty; give a path"),
    ("export HERE --output=", "Invalid value for '--output' / '-o': it is empty; give a path"),
    ("embed HERE/text.txt --output=", "Invalid value for '--output' / '-o': it is empty; give a path"),
    (f"sample -o HERE/{'x' * 300}", "cannot be written to: File name too long; give --output another folder."),
    ("sample -o HERE/link", "HERE/link is a link to nothing; remove it, or give --output another folder."),
    ("sample -o HERE/link/below", "HERE/link is a link to nothing"),
    ("app --runs HERE/text.txt", "text.txt is a file; give --runs a folder."),
    ("sample HERE/text.txt --requests HERE/none.yaml", "Recordings cannot be combined with --requests"),
    ("sample https://example.org/a.wav", "a.wav is not fetched from its address; download it"),
    ("sample -", "- is no file, but recordings are read more than once; save it as a file first."),
    ("sample HERE/pipe", "HERE/pipe is no file, but recordings are read more than once"),
    ("sample --longest-in-s 2", "--longest-in-s limits agreements with a catalogue; name the catalogue with --avoid."),
    ("sample HERE/empty.wav", "HERE/empty.wav has no samples; give another recording."),
    ("sample HERE/second.wav --prompt-seconds 0.9 --seconds 0.5", "longer than the piece of 0.5 s; set a smaller --pr"),
    ("sample --progress xml", "Invalid value for '--progress'"),
    ("resume HERE/none", "HERE/none holds no run"),
    ("continue HERE/none", "Missing option '--seconds'"),
    ("continue HERE/none --seconds 0", "--seconds must be"),
    ("upsample HERE/none", "HERE/none holds no run"),
    ("upsample HERE/none.t --output HERE/out", "There is no file HERE/none.t"),
    ("sample --lora HERE/none:x", "--lora takes a folder or Hub repository"),
    ("embed HERE/text.txt -o HERE/x.npz --lora HERE/none:x", "--lora takes a folder or Hub repository"),
    ("compile --lora HERE/none:x", "--lora takes a folder or Hub repository"),
    ("evaluate demo --data HERE --output HERE/x --lora HERE/none:x", "--lora takes a folder or Hub repository"),
    ("app --host no.such.name.invalid", "--host no.such.name.invalid is no address of this machine"),
    ("app --host 192.0.2.1", "--host 192.0.2.1 is no address of this machine; leave it out, or give 0.0.0.0."),
    ("pick HERE/none 0", "HERE/none holds no run"),
    ("pick HERE/none first", "Invalid value for 'N'"),
    ("convert openai --vqvae HERE/none --prior HERE/none --output HERE/x", "There is no file HERE/none"),
    ("convert openai BACKSLASH --vqvae HERE/none --prior HERE/none --output HERE/x", "unexpected extra argument"),
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("no folder")
    (tmp_path / "v.pth.tar").write_bytes(b"")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "second.wav", np.zeros(8000), 8000)
    (tmp_path / "link").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin1.txt").write_bytes("Mütter".encode("latin-1"))
    return tmp_path


def split_command(command: str, here: Path) -> list[str]:
    return [word.replace("HERE", str(here)) for word in command.replace("BACKSLASH", "\\").split(" ")]


@pytest.mark.parametrize(("command", "message"), WRONG, ids=[command for command, _ in WRONG])
def test_a_wrong_command_ends_in_a_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(here)
    before = sorted(here.rglob("*"))
    result = run(*split_command(command, here))
    lines = result.stderr.splitlines()
    assert result.exit_code == 2 and result.stdout == ""
    assert lines[0].startswith("hf-jukebox: ") and message.replace("HERE", str(here)) in lines[0]
    assert [line for line in lines[1:] if not (line.startswith("Help: ") and line.endswith(" --help"))] == []
    assert len(lines) <= 2
    assert sorted(here.rglob("*")) == before


def test_wrong_commands_end_before_torch_is_imported(here: Path) -> None:
    """All in one process: the first one that imports torch would show in the ones after it too."""
    commands = [split_command(command, here) for command, _ in WRONG]
    code = (
        "import json, sys\n"
        "from typer.testing import CliRunner\n"
        "from hf_jukebox.cli import app\n"
        "slow = {'torch', 'transformers', 'diffusers', 'accelerate', 'datasets'}\n"
        "results = {}\n"
        "for words in json.loads(sys.stdin.read()):\n"
        "    status = CliRunner().invoke(app, words).exit_code\n"
        "    results[' '.join(words)] = [status, sorted(slow & set(sys.modules))]\n"
        "print(json.dumps(results))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(commands), capture_output=True, text=True, cwd=here, check=True
    )
    results = json.loads(done.stdout)
    assert {words: result for words, result in results.items() if result != [2, []]} == {}


@pytest.mark.parametrize("device", ["gpu", "GPU", "cuda", "cuda:7", "mps", "xpu"])
@pytest.mark.parametrize("command", ["sample", "resume", "continue", "upsample"])
def test_a_device_that_is_not_here_is_named_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, device: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    words = {"sample": ["sample", "-o", tmp_path / "out"], "continue": ["continue", tmp_path, "--seconds", 1]}
    if command != "sample":
        (tmp_path / "request.json").write_text("{}")  # what is wrong with it would be said later
    before = sorted(tmp_path.rglob("*"))
    result = run(*words.get(command, [command, tmp_path]), "--device", device)
    assert result.exit_code == 2
    assert result.stderr == ("hf-jukebox: There is no GPU here that torch can use; leave --device out, or use cpu.\n")
    assert sorted(tmp_path.rglob("*")) == before
