"""Cards: what is kept, what is completed, and how a folder's name becomes a repository's."""

from pathlib import Path

import pytest
from helpers.cards import front_matter
from PIL import Image

from hf_jukebox.sharing.cards import Card, audio_player, completed_card, is_unedited, published_card, renamed_card
from hf_jukebox.sharing.curves import draw_curves
from hf_jukebox.sharing.licences import NON_COMMERCIAL, joined_licence, licence_text

CARD = Card(
    title="model",
    summary="A model, trained as a model is.",
    snippet='pipe = JukeboxPipeline.from_pretrained("model")\nload_adapter(prior, "model")',
    licence="mit",
    sections={
        "Samples": audio_player("samples/my song.wav"),
        "Use": "`sample --model model`, `--vqvae models`",
        "": "",
    },
    base_model=["me/base"],
    relation="finetune",
    datasets=["me/songs"],
)


def test_a_new_card_is_valid_begins_with_its_code_and_leaves_empty_sections_out() -> None:
    text = CARD.text()
    fields = front_matter(text)
    assert (fields["base_model"], fields["base_model_relation"]) == ("me/base", "finetune")
    assert fields["datasets"] == ["me/songs"] and is_unedited(text)
    assert text.index("```python") < text.index("A model, trained") and "## \n" not in text


@pytest.mark.parametrize("edit", [" and more", "\n"])
def test_an_edited_card_is_told_from_one_that_is_not(edit: str) -> None:
    text = CARD.text()
    assert is_unedited(text.replace("license: mit", "license: apache-2.0"))  # its metadata are not its text
    assert is_unedited(text.replace("\n", "\r\n"))
    assert not is_unedited(text.replace("as a model is.", f"as a model is.{edit}"))
    assert not is_unedited("") and not is_unedited("# Mine\n")


def test_the_name_of_a_folder_becomes_that_of_the_repository_and_words_stay() -> None:
    text = renamed_card(CARD.text(), "model", "me/great")
    assert is_unedited(text) and "# me/great\n" in text
    assert 'from_pretrained("me/great")' in text and 'load_adapter(prior, "me/great")' in text
    assert "A model, trained as a model is." in text and "--model me/great`, `--vqvae models`" in text
    assert 'src="https://huggingface.co/me/great/resolve/main/samples/my%20song.wav"></audio>' in text
    edited = CARD.text().replace("trained", "made")
    assert renamed_card(edited, "model", "me/great") == edited


def test_an_edited_card_is_completed_and_a_stated_licence_stays() -> None:
    other = Card("x", "", "", licence=NON_COMMERCIAL)
    kept = completed_card(other, "# Mine\n\nMy words.\n")
    assert kept.endswith("---\n\n# Mine\n\nMy words.\n") and front_matter(kept)["license_name"] == NON_COMMERCIAL
    stated = completed_card(other, "---\nlicense: mit\ntags: [a]\n---\n# Mine\n")
    assert "license_name" not in front_matter(stated) and front_matter(stated)["license"] == "mit"
    whole = completed_card(CARD, CARD.text().replace("trained", "made"))
    assert whole == CARD.text().replace("trained", "made")
    assert published_card(CARD, other.text(), None) == CARD.text()
    assert "My words" in published_card(CARD, "# M\n\nMy words.\n", CARD.text())
    assert published_card(CARD, None, None) == CARD.text()


def test_licences_of_parts_are_joined() -> None:
    assert joined_licence(["mit", NON_COMMERCIAL, None]) == NON_COMMERCIAL
    assert joined_licence(["mit", "mit"]) == "mit" and joined_licence(["mit", None]) is None
    assert "non-commercial purposes only" in licence_text(NON_COMMERCIAL)


def test_curves_are_drawn_where_their_values_lie(tmp_path: Path) -> None:
    draw_curves(tmp_path / "c.png", {"falling": [(0, 8.0), (100, 2.0)], "one point": [(50, 5.0)]})
    image = Image.open(tmp_path / "c.png").convert("RGB")
    blue = [
        (x, y) for x in range(image.width) for y in range(image.height - 30) if image.getpixel((x, y)) == (52, 101, 164)
    ]
    assert min(blue)[1] < 60 and max(blue)[1] > 250  # it begins above and ends below
    draw_curves(tmp_path / "flat.png", {"flat": [(3, 1.0)]})
