"""Cards that quote names and texts of others, who may mean them as markup, Python or commands."""

import ast
import re
import shlex
from dataclasses import replace

import pytest
from helpers.cards import python_of
from helpers.tiny import tiny_pipeline, tiny_prior, tiny_vqvae

from hf_jukebox.convert.cards import assembled_card, converted_card
from hf_jukebox.runs.contents import RunReader
from hf_jukebox.runs.sharing import run_card
from hf_jukebox.sharing.cards import Card, table
from hf_jukebox.sharing.licences import licence_text
from hf_jukebox.sharing.model_cards import adapter_card, how_to_use, model_card, pipeline_card, tokenizer_card
from hf_jukebox.sharing.quoting import as_code, as_words

HOSTILE = 'x"); import os; os.system("id") #\n\n# Heading\n\n```\n<img src=x onerror=alert(1)> [here](http://evil) `'
CALLS = {"from_pretrained", "load_adapter", "print", "list", "zeros", "encode", "decode", "pipe", "save"}


def check(text: str) -> None:
    """Check that a card has no markup, Python or command but its own."""
    text = text.split("\n---\n\n", 1)[1]  # below the front matter
    outside = without_code(text)
    assert "<img" not in outside and not re.search(r"(?<!\\)\[here\]\(", outside)
    assert not re.search(r"(?m)^#+ Heading", outside)
    for block in python_of(text):
        called = {
            ast.unparse(node.func).split(".")[-1] for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)
        }
        assert called <= CALLS, called
    for block in re.findall(r"(?ms)^```bash\n(.*?)^```$", text):
        words = shlex.split(block, comments=True)
        assert not {"os;", "import", "os.system(id)"} & set(words) and ";" not in words
    assert text.count("\n```") % 2 == 0


def without_code(text: str) -> str:
    """Return Markdown without its blocks and spans of code, which show everything as it is."""
    text = re.sub(r"(?ms)^```.*?^```$", "", text)
    return re.sub(r"(?<!\\)(`+)(?!`).+?(?<!`)\1(?!`)", "", text)


def test_an_adapter_names_its_prior_in_a_literal() -> None:
    settings = {"base_model_name_or_path": HOSTILE, "r": 4, "lora_alpha": HOSTILE}
    details = {"level": 2, "artists": {HOSTILE: 1}, "genres": {"a|b": 2}, "weights_license": HOSTILE}
    text = adapter_card("my adapter", settings, details).text()
    check(text)
    (block,) = python_of(text)
    assert HOSTILE in [node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)]
    demo = {"base_model_name_or_path": 'hf_jukebox/demo/model/"); import os; os.system("id") #'}
    check(adapter_card("my adapter", demo, {}).text())


@pytest.mark.parametrize("name", [HOSTILE, "a `b` c", "my song's; model"])
def test_names_of_folders_stay_names(name: str) -> None:
    vqvae, prior = tiny_vqvae().config, tiny_prior("tiny_labelled_prior").config
    cards = [
        model_card(name, vqvae, base=name),
        model_card(name, prior),
        tokenizer_card(name),
        adapter_card(name, {}, {}),
        pipeline_card(name, vqvae, [None, None, prior], origin=assembled_card([name, name])),
        pipeline_card(name, vqvae, [prior], origin=converted_card([name])),
        Card(name, "", "", sections={"Use it": how_to_use(name, vqvae)}),
    ]
    for card in cards:
        check(card.text())
    (block,) = re.findall(r"(?s)```bash\n(.*?)```\n", cards[3].text())
    assert shlex.split(block)[-3] == " ".join(name.split()) + ":0.7"


@pytest.mark.parametrize("markup", [
    "night bus\n\n# Heading", "<audio autoplay src=x>", "<img src=x onerror=alert(1)>", "[x](http://evil)",
    "**a** _b_ `c`", "# Heading", "1. one", "- one", "---", "a | b", "&lt;b&gt;", "~~a~~", "\\<b>",
])  # fmt: skip
def test_labels_and_lyrics_of_a_run_are_shown_as_they_are(markup: str, run: RunReader) -> None:
    song = replace(run.request.songs[0], artist=markup, genre=markup, lyrics=f"{markup}\n{markup}", prompt=markup)
    run.request.songs[:] = [song]
    text = run_card(run, "me/music", "dataset").text()
    listen = text[text.index("## Listen") : text.index("## How it was made")]
    heading, player, lyrics = listen.strip().split("\n\n")[1:]
    shown = as_words(markup)
    assert heading == f"`level_2/item_0.wav`: continues {shown}, artist {shown}, genre {shown}"
    assert player.startswith("<audio controls src=") and lyrics.startswith("> ") and "\n" not in lyrics
    assert not re.search(r"<(?!audio controls src=|/audio>)", listen.replace(player, ""))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunReader:
    folder = tmp_path_factory.mktemp("run") / "run"
    tiny_pipeline()(audio_length_in_s=0.3, levels=2, output_dir=folder, output_type="latent")
    return RunReader.open(folder)


@pytest.mark.parametrize(("text", "shown"), [
    ("the lanterns", "the lanterns"), ("my_model-1.5", "my_model-1.5"), ("0.001", "0.001"), ("-3", "-3"),
    ("a\n  b", "a b"), ("# a", "\\# a"), ("1. a", "1\\. a"), ("- a", "\\- a"), ("---", "\\---"),
    ("[a](b) ![c](d)", "\\[a](b) !\\[c](d)"), ("*a* _b_ c_d", "\\*a\\* \\_b\\_ c_d"),
    ("<b> & `c`", "&lt;b&gt; &amp; \\`c\\`"),
])  # fmt: skip
def test_words_are_shown_as_they_are(text: str, shown: str) -> None:
    assert as_words(text) == shown


def test_code_tables_and_licences_are_shown_as_they_are() -> None:
    assert as_code("a") == "`a`" and as_code("a`b``c") == "``` a`b``c ```"
    assert table({"names": "a|b\nc <b>"}).endswith("| names | a\\|b c &lt;b&gt; |")
    assert "licensed under &lt;b&gt;." in licence_text("<b>")
