"""The listening page, opened from the file system in a real browser."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.browser import Browser

from hf_jukebox.audio import write_audio
from hf_jukebox.report import Candidate, Grid, ListeningPage, LyricTiming, write_listening_page

COMMAND = "hf-jukebox sample 'a & b.wav' --seed 7\nhf-jukebox pick run 1"
RATE, HOP = 22050, 128
CODES_PER_SECOND = RATE / HOP
SECONDS = 6.0
LYRICS = "We hung the lanterns by the shore\n\nand counted every one,\nuntil the light was gone"
MARKUP = "</p></script><script>window.injected = true</script><img src=x onerror='window.injected = true'> & so on"


def sound(seconds: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * 220 * 2**seed * t) + 0.05 * generator.standard_normal(len(t))).astype(np.float32)


def sung(seconds: float, text: str = LYRICS, seed: int = 0) -> LyricTiming:
    """Return a timing that advances through the lyrics, with noise and a rest."""
    total = int(seconds * CODES_PER_SECOND)
    generator = torch.Generator().manual_seed(seed)
    characters = torch.linspace(0, len(text) - 1, total) + 3 * torch.randn(total, generator=generator)
    characters = characters.round().clamp(0, len(text) - 1).int()
    characters[total // 3 : total // 3 + 10] = -1
    overview = torch.randint(256, (len(text), min(total, 720)), generator=generator).to(torch.uint8)
    return LyricTiming(text, characters, CODES_PER_SECOND, overview)


def candidate(
    folder: Path, number: int, levels: int = 3, seconds: float = SECONDS, name: str = "item", **fields: Any
) -> Candidate:
    audio = {level: f"level_{level}/{name} {number}.wav" for level in range(levels)}
    for level, path in audio.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_audio(folder / path, sound(seconds, level), RATE)
    return Candidate(**({"title": f"Candidate {number + 1}", "audio": audio} | fields))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a run, 100% #1")
    candidates = [
        candidate(folder, 0, sung=sung(SECONDS), labels={"Artist": "Night Bus", "Genre": ""}, prompt_in_s=1.5),
        candidate(folder, 1, levels=1, title=MARKUP, labels={MARKUP: MARKUP}, lyrics=MARKUP, note=MARKUP),
        candidate(
            folder, 2, name="a & b, 2+2", sung=sung(SECONDS, "<b>Bold</b> & " + MARKUP), note="No alignment here."
        ),
    ]
    return write_listening_page(
        folder,
        ListeningPage(
            "Lanterns " + MARKUP, candidates, {"Model": MARKUP, "Length": "6 s"}, note=MARKUP, command=COMMAND
        ),
    )


@pytest.fixture
def page(browser: Browser, path: Path) -> Browser:
    browser.look()
    browser.problems.clear()
    browser.requests.clear()
    browser.open(path.as_uri())
    return browser


def wait_for(page: Browser, condition: str) -> None:
    page.run(f"""new Promise((resolve, reject) => {{
        const end = Date.now() + 60000;
        const look = () => ({condition}) ? resolve() : Date.now() > end ? reject(`{condition}`) : setTimeout(look, 20);
        look();
    }})""")


def click(page: Browser, selector: str) -> None:
    place = page.run(f"""(() => {{
        const element = document.querySelector({selector!r});
        element.scrollIntoView({{ block: "center", behavior: "instant" }});
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }})()""")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)


# It opens and plays ----------------------------------------------------------------------------------------------


def test_the_page_loads_without_errors_or_network_requests(page: Browser) -> None:
    wait_for(page, "cards.every((card) => card.audios.every((audio) => audio.readyState >= 1))")
    assert page.problems == []
    assert {url.split(":")[0] for url in page.requests} == {"file", "data"}
    durations = page.run("cards.flatMap((card) => card.audios.map((audio) => audio.duration))")
    assert durations == [pytest.approx(SECONDS)] * 7


def test_one_candidate_plays_at_a_time(page: Browser) -> None:
    click(page, ".card:nth-of-type(1) .play")
    wait_for(page, "cards[0].audio.currentTime > 0.3")
    assert page.run("document.querySelector('.card .now').textContent").startswith("0:0")
    click(page, ".card:nth-of-type(2) .play")
    wait_for(page, "cards[1].audio.currentTime > 0.2")
    assert page.run("cards.map((card) => card.audio.paused)") == [True, False, True]
    assert page.run("cards.map((card) => card.element.classList.contains('playing'))") == [False, True, False]
    click(page, ".card:nth-of-type(2) .play")
    wait_for(page, "cards[1].audio.paused")
    assert page.problems == []


def test_another_level_continues_at_the_same_position(page: Browser) -> None:
    assert page.run("cards[0].audio.getAttribute('src')") == "level_0/item%200.wav"  # the finest to begin with
    page.run("cards[0].seek(2.5)")
    click(page, ".card .play")
    wait_for(page, "cards[0].audio.currentTime > 2.6")
    before = page.run("cards[0].audio.currentTime")
    click(page, ".card .levels label:nth-of-type(1)")
    assert page.run("cards[0].audio.getAttribute('src')") == "level_2/item%200.wav"
    wait_for(page, "!cards[0].audio.paused && cards[0].audio.currentTime > 2.7")
    assert before <= page.run("cards[0].audio.currentTime") < SECONDS
    assert page.run("cards[0].audios.map((audio) => audio.paused)") == [False, True, True]
    assert page.run("cards[0].pictures.map((picture) => picture.hidden)") == [False, True, True]


def test_playing_restarts_after_the_end(page: Browser) -> None:
    page.run(f"cards[1].seek({SECONDS} - 0.2); cards[1].play()")
    wait_for(page, "cards[1].audio.ended && !cards[1].element.classList.contains('playing')")
    page.run("cards[1].play()")
    wait_for(page, "!cards[1].audio.paused && cards[1].audio.currentTime < 5")


# Keyboard and pointer --------------------------------------------------------------------------------------------


def test_the_keyboard_does_everything(page: Browser) -> None:
    page.press(" ")
    wait_for(page, "cards[0].audio.currentTime > 0.1")
    page.press(" ")
    wait_for(page, "cards[0].audio.paused")
    page.run("cards[0].seek(1)")
    page.press("ArrowRight")
    assert page.run("cards[0].audio.currentTime") == pytest.approx(3)
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    assert page.run("cards[0].audio.currentTime") == 0
    page.press("ArrowUp")
    page.press("ArrowUp")
    page.press("ArrowUp")
    assert page.run("cards[0].radios.map((radio) => radio.checked)") == [True, False, False]
    page.press("ArrowDown")
    assert page.run("cards[0].radios.map((radio) => radio.checked)") == [False, True, False]
    page.press("p")
    wait_for(page, "!cards[2].audio.paused")
    page.press("n")
    wait_for(page, "!cards[0].audio.paused && cards[2].audio.paused")


def test_arrows_scroll_the_page_unless_they_are_for_a_player(page: Browser) -> None:
    page.look(width=640, height=450)  # as 1280 at a zoom of 200 %
    page.press("ArrowDown")
    wait_for(page, "scrollY > 20")
    assert page.run("cards[0].index") == 2
    page.press("ArrowRight")
    assert page.run("cards[0].audio.currentTime") == 0
    page.run("cards[0].button.focus({ preventScroll: true })")
    page.press("ArrowUp")
    page.press("ArrowRight")
    assert page.run("[cards[0].index, cards[0].audio.currentTime]") == [1, pytest.approx(2)]
    page.run("document.activeElement.blur(); cards[0].seek(3); cards[0].play()")
    wait_for(page, "!cards[0].audio.paused")
    page.press("ArrowRight")
    assert page.run("cards[0].audio.currentTime") >= 5
    page.run("cards[0].audio.pause()")
    page.press("L")  # Caps Lock
    assert page.run("cards[0].loop.to") is None


def test_controls_can_be_focused_and_have_names(page: Browser) -> None:
    names = page.run(
        "[...document.querySelectorAll('.card:nth-of-type(1) :is(button, .seek)')].map((e) => e.ariaLabel)"
    )
    assert names == ["Play Candidate 1", "Position in Candidate 1", None]
    assert page.run("cards[0].loopButton.textContent") == "Loop from here"
    page.run("cards[0].seekBar.focus(); cards[0].seek(2)")
    page.press("ArrowRight")
    assert page.run("cards[0].audio.currentTime") == pytest.approx(4)
    assert page.run("cards[0].seekBar.getAttribute('aria-valuetext')") == "0:04 of 0:06"
    page.run("cards[0].button.focus()")
    page.press(" ")
    wait_for(page, "!cards[0].audio.paused && cards[0].button.getAttribute('aria-pressed') === 'true'")


def test_a_click_into_the_picture_seeks(page: Browser) -> None:
    click(page, ".card .seek")
    assert page.run("cards[0].audio.currentTime") == pytest.approx(SECONDS / 2, abs=0.05)


# Loops, comparisons and switches ---------------------------------------------------------------------------------


def test_a_stretch_is_looped(page: Browser) -> None:
    page.run("cards[0].seek(2)")
    page.press("l")
    assert page.run("cards[0].loopButton.textContent") == "Loop to here"
    page.run("cards[0].seek(2.4)")
    page.press("l")
    assert page.run("cards[0].loop") == {"from": 2, "to": 2.4}
    assert page.run("cards[0].loopButton.getAttribute('aria-pressed')") == "true"
    page.run("cards[0].seek(2.2); cards[0].play()")
    wait_for(page, "cards[0].audio.currentTime > 2.3")
    wait_for(page, "cards[0].audio.currentTime < 2.3")
    page.run("cards[0].button.focus()")
    page.press("ArrowUp")
    wait_for(page, "cards[0].index === 1 && cards[0].audio.currentTime > 2.3")
    wait_for(page, "cards[0].audio.currentTime < 2.3 && !cards[0].audio.paused")
    page.press("l")
    wait_for(page, "cards[0].audio.currentTime > 2.6")
    assert page.run("cards[0].loopMark.hidden")


def test_shift_and_dragging_select_a_loop(page: Browser) -> None:
    page.run("cards[1].stage.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = page.run("(({ left, top, width }) => [left, top, width])(cards[1].stage.getBoundingClientRect())")
    for kind, share in (("mousePressed", 0.75), ("mouseMoved", 0.6), ("mouseMoved", 0.5), ("mouseReleased", 0.5)):
        x, y = box[0] + share * box[2], box[1] + 20
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1, modifiers=8)
    loop = page.run("cards[1].loop")
    assert loop == {"from": pytest.approx(3, abs=0.02), "to": pytest.approx(4.5, abs=0.02)}
    assert page.run("cards[1].audio.currentTime") == 0
    page.run("cards[1].seek(4.2); cards[1].play()")
    wait_for(page, "cards[1].audio.currentTime < 4 && cards[1].audio.currentTime >= 3")


def test_a_loop_up_to_the_end_repeats(page: Browser) -> None:
    page.run(f"cards[1].setLoop(5.6, {SECONDS}); cards[1].seek(5.7); cards[1].play()")
    wait_for(page, "cards[1].audio.currentTime > 5.9 || cards[1].audio.ended")
    wait_for(page, "!cards[1].audio.paused && cards[1].audio.currentTime < 5.9")


def test_the_end_of_the_prompt_is_marked(page: Browser) -> None:
    assert page.run("[...document.querySelectorAll('.prompt')].map((each) => each.style.width)") == ["25%"]
    page.press("e")
    assert page.run("cards[0].audio.currentTime") == pytest.approx(1.5)
    assert page.run("cards[0].element.querySelector('.labels').innerText") == "Artist Night Bus\nPrompt 1.5 s"
    page.run("cards[1].seekBar.focus()")
    page.press("e")  # it has none
    assert page.run("cards[1].audio.currentTime") == 0


def test_candidates_are_switched_at_the_same_place(page: Browser) -> None:
    page.run("cards[0].seek(2); cards[0].play()")
    click(page, "#same-place")
    page.press("n")
    wait_for(page, "!cards[1].audio.paused && cards[1].audio.currentTime > 2.05")
    page.press("b")
    wait_for(page, "!cards[0].audio.paused && cards[1].audio.paused && cards[0].audio.currentTime > 2.1")
    page.press("b")
    wait_for(page, "!cards[1].audio.paused && cards[0].audio.paused && cards[1].audio.currentTime > 2.1")


def test_every_file_can_be_saved_under_a_clear_name(page: Browser) -> None:
    links = page.run(
        "[...document.querySelectorAll('.files a')].map((e) => [e.getAttribute('href'), e.download, e.textContent])"
    )
    assert links[0] == ["level_2/item%200.wav", "candidate-1-level-2.wav", "level 2"]
    assert len(links) == 7
    assert links[3][1] == "p-script-script-window-injected-true-script-img-src-x-onerro-level-0.wav"


def test_the_command_is_copied(page: Browser) -> None:
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.run("document.querySelector('.command').open = true")
    click(page, ".command button")
    wait_for(page, "document.querySelector('.command button').textContent === 'Copied'")
    assert page.run("getSelection().toString()") == COMMAND


def test_equal_loudness_turns_the_louder_ones_down(page: Browser) -> None:
    loudness = page.run("audios.map((audio) => Number(audio.dataset.loudness))")
    assert max(loudness) - min(loudness) > 0.5
    click(page, "#equal-loudness")
    volumes = page.run("audios.map((audio) => audio.volume)")
    heard = [each + 20 * np.log10(volume) for each, volume in zip(loudness, volumes, strict=True)]
    assert max(volumes) == 1 and heard == pytest.approx([min(loudness)] * 7, abs=0.01)
    click(page, "#equal-loudness")
    assert page.run("audios.every((audio) => audio.volume === 1)")


PEAKS = """(async () => {
    await cards[0].audio.play();
    const splitter = context.createChannelSplitter(2);
    const analysers = [0, 1].map((channel) => {
        const analyser = context.createAnalyser();
        splitter.connect(analyser, channel);
        return analyser;
    });
    for (const { end } of graphs.values()) end.connect(splitter);
    const start = context.currentTime; // the sound may be late on a busy machine
    while (context.currentTime < start + 0.3) await new Promise((resolve) => setTimeout(resolve, 20));
    return analysers.map((analyser) => {
        const samples = new Float32Array(analyser.fftSize);
        analyser.getFloatTimeDomainData(samples);
        return [...samples];
    });
})()"""


def test_pseudo_stereo_from_the_disk_needs_the_folder(page: Browser, path: Path) -> None:
    assert page.run("chooseFolder.hidden")
    click(page, "#pseudo-stereo")
    assert not page.run("chooseFolder.hidden || pseudoStereo.checked")
    chosen = page.call("Runtime.evaluate", expression="chooseFolder.querySelector('input')")["result"]["objectId"]
    page.call("DOM.setFileInputFiles", files=[str(path.parent)], objectId=chosen)
    wait_for(page, "pseudoStereo.checked && chooseFolder.hidden")
    left, right = (np.array(channel) for channel in page.run(PEAKS))
    assert np.abs(left).max() > 0.05 and np.abs(left - right).max() > 0.05
    click(page, "#pseudo-stereo")
    left, right = (np.array(channel) for channel in page.run(PEAKS))
    assert np.abs(left).max() > 0.05 and np.array_equal(left, right)
    assert page.problems == []


# Lyrics ----------------------------------------------------------------------------------------------------------


def test_lyrics_light_up_by_the_alignment(page: Browser) -> None:
    characters = sung(SECONDS).characters.tolist()
    times = [0.0, 0.5, 1.0, 1.999, 2.02, 2.5, 3.3333, 4.0, 5.2, SECONDS]
    for seconds in [*times, *(code / CODES_PER_SECOND for code in range(40, 1000, 97))]:
        page.run(f"cards[0].seek({seconds})")
        wait_for(page, "!cards[0].audio.seeking")
        shown = page.run("({ ...cards[0].lyrics.element.dataset })")
        at = page.run("cards[0].audio.currentTime") * CODES_PER_SECOND
        near = characters[max(int(at) - 1, 0) : int(at) + 2] or characters[-1:]
        character = int(shown["character"])
        assert (-1 if character == 0xFFFF else character) in near
        marked = page.run("[...cards[0].element.querySelectorAll('.sung mark')].map((mark) => mark.textContent)")
        has_word = character != 0xFFFF and not LYRICS[character].isspace()
        assert marked == ([LYRICS[character]] if has_word else [])
    assert page.run("cards[0].lyrics.element.textContent") == LYRICS


def test_the_highlight_moves_while_it_plays(page: Browser) -> None:
    characters = sung(SECONDS).characters.tolist()
    page.run("cards[0].play()")
    wait_for(page, "cards[0].audio.currentTime > 0")
    seen = page.run("""new Promise((resolve) => {
        const { lyrics, audio } = cards[0], seen = [];
        const look = () => {
            cards[0].draw();
            seen.push([audio.currentTime, +lyrics.element.dataset.code, +lyrics.element.dataset.character]);
            const enough = new Set(seen.map(([, , character]) => character)).size > 9;
            if (enough || audio.ended) resolve(seen); else requestAnimationFrame(look);
        };
        look();
    })""")
    assert len({character for _, _, character in seen}) > 9
    for seconds, code, character in seen:
        assert abs(code - seconds * CODES_PER_SECOND) <= 1
        assert characters[code] % 65536 == character


def test_a_click_on_a_word_seeks_to_it(page: Browser) -> None:
    word = page.run("cards[0].lyrics.wordOf.findIndex((word) => word?.textContent === 'counted')")
    assert LYRICS[word:].startswith("counted")
    page.run(f"cards[0].lyrics.wordOf[{word}].click()")
    first = next(code for code, c in enumerate(sung(SECONDS).characters.tolist()) if word <= c < word + 7)
    assert page.run("cards[0].audio.currentTime") == pytest.approx(first / CODES_PER_SECOND, abs=1e-3)


def test_words_are_reached_by_keyboard(page: Browser) -> None:
    assert page.run("document.querySelectorAll('.card:nth-of-type(1) .word[tabindex]').length") == 1
    page.run("cards[0].element.querySelector('.files a:last-child').focus()")
    page.press("Tab")
    focused = "document.activeElement.textContent"
    assert page.run(f"[{focused}, document.activeElement.role]") == ["We", "button"]
    page.press("ArrowDown")
    assert page.run(focused) == "and"
    for _ in range(3):
        page.press("ArrowRight")
    page.press("ArrowLeft")
    assert page.run(focused) == "every"
    page.press("Enter")
    word = LYRICS.index("every")
    first = next(code for code, c in enumerate(sung(SECONDS).characters.tolist()) if word <= c < word + 5)
    assert page.run("cards[0].audio.currentTime") == pytest.approx(first / CODES_PER_SECOND, abs=1e-3)
    assert page.run("document.querySelectorAll('.card:nth-of-type(1) .word[tabindex]').length") == 1
    assert page.problems == []


def test_no_word_is_highlighted_before_playing(page: Browser) -> None:
    assert page.run("document.querySelectorAll('.sung').length") == 0


def test_a_candidate_without_alignment_says_so(page: Browser) -> None:
    assert page.run("cards.map((card) => card.lyrics !== null)") == [True, False, True]
    assert page.run("cards.map((card) => card.element.querySelectorAll('.map img').length)") == [1, 0, 1]
    assert page.run("cards[2].element.querySelector('.note').textContent") == "No alignment here."


# Texts are texts -------------------------------------------------------------------------------------------------


def test_markup_in_texts_is_shown_as_text(page: Browser) -> None:
    assert page.run("window.injected") is None
    assert page.run("document.title") == "Lanterns " + MARKUP
    assert page.run("[...document.querySelectorAll('h1, h2, .state, dd')].map((e) => e.textContent)") == [
        "Lanterns " + MARKUP, MARKUP, MARKUP, "6 s", "Candidate 1", MARKUP, "Candidate 3",
    ]  # fmt: skip
    second = "document.querySelectorAll('.card')[1]"
    assert page.run(f"{second}.querySelector('.lyrics').textContent") == MARKUP
    assert page.run(f"{second}.querySelector('.note').textContent") == MARKUP
    assert page.run(f"{second}.querySelector('.labels').innerText") == f"{MARKUP} {MARKUP}"
    assert page.run("cards[2].lyrics.element.textContent") == "<b>Bold</b> & " + MARKUP
    assert page.run("document.querySelectorAll('script').length") == 2
    assert page.run("document.querySelectorAll('.card img').length") == 9  # seven spectrograms, two maps
    assert page.run("cards[0].element.querySelector('.labels').innerText") == "Artist Night Bus\nPrompt 1.5 s"


# How it looks ----------------------------------------------------------------------------------------------------

TEXTS = (
    "summary, pre, .plain, .switches label, .switches legend, .files, .files a, h1, h2, dt, dd, .state, .label-name,"
    " .time span, .levels span, .lyrics, figcaption, .note, kbd, .page-foot p, .word.sung"
)
DRAW = """for (const name of ["faint", "accent", "warm", "soft"]) {
    const drawn = Object.assign(document.createElement("i"), { className: `drawn ${name}` });
    drawn.style.color = `var(--${name})`;
    cards[0].element.append(drawn);
}"""
CONTRASTS = """((texts) => {
    const parse = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (c) => c <= 0.04045 * 255 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const over = (below, [r, g, b, a = 1]) => below.map((c, i) => c * (1 - a) + [r, g, b][i] * a);
    return [...document.querySelectorAll(texts)].map((element) => {
        const grounds = [];
        for (let each = element; each; each = each.parentElement) {
            grounds.unshift(parse(getComputedStyle(each).backgroundColor));
        }
        const lights = [parse(getComputedStyle(element).color), grounds.reduce(over, [0, 0, 0])].map(light);
        return [(Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05), element.className || element.tagName];
    });
})"""


@pytest.mark.parametrize("dark", [False, True])
def test_contrast_is_sufficient_in_light_and_dark(page: Browser, dark: bool) -> None:
    page.look(dark=dark)
    page.call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ])  # fmt: skip
    page.run("cards[0].seek(0.5)")
    contrasts = page.run(f"{CONTRASTS}({TEXTS!r})")
    assert len(contrasts) > 20
    assert min(contrasts) > [4.5], "WCAG 2 AA"
    page.run(DRAW)
    assert min(page.run(f"{CONTRASTS}('.drawn')")) >= [3], "for what is no text"
    assert (page.run("getComputedStyle(document.body).backgroundColor") == "rgb(16, 12, 23)") == dark


def test_high_contrast_shows_the_level_and_the_position(page: Browser) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    page.run("cards[0].seek(2)")
    style = "getComputedStyle(cards[0].element.querySelector({!r})).{}"
    chosen, other, playhead, played, rest = (
        page.run(style.format(selector, name))
        for selector, name in (
            (".levels input:checked + span", "backgroundColor"),
            (".levels input:not(:checked) + span", "backgroundColor"),
            (".playhead", "backgroundColor"),
            (".played .bars", "fill"),
            (".waveform > .bars", "fill"),
        )
    )
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert chosen not in (other, ground) and playhead != ground and len({played, rest, ground}) == 3


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.look(width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    inside = """cards.every(({ element }) => [...element.querySelectorAll("*")].every((each) =>
        each.getBoundingClientRect().right <= element.getBoundingClientRect().right))"""
    assert page.run(inside)


# Side by side ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    rows, columns = ["Night Bus", "The Lanterns"], ["Soul", "Rock", "Deep house"]
    titles = [f"{row} · {column}" for row in rows for column in columns]
    candidates = [candidate(folder, number, levels=1, title=title) for number, title in enumerate(titles)]
    return write_listening_page(folder, ListeningPage("One break", candidates, grid=Grid(rows, columns)))


def test_a_grid_sets_styles_side_by_side(browser: Browser, grid_path: Path) -> None:
    browser.look()
    browser.open(grid_path.as_uri())
    places = browser.run(
        "cards.map(({ element }) => [element.getBoundingClientRect().x, element.getBoundingClientRect().y])"
    )
    assert [x for x, _ in places[:3]] == sorted({x for x, _ in places})
    assert len({y for _, y in places[:3]}) == len({y for _, y in places[3:]}) == 1
    assert browser.run("[...document.querySelectorAll('.column-head')].map((e) => e.textContent)") == [
        "Soul",
        "Rock",
        "Deep house",
    ]
    assert browser.run("document.querySelectorAll('.card')[4].ariaLabel") == "The Lanterns · Rock"


def test_in_a_grid_another_style_continues_at_the_same_position(browser: Browser, grid_path: Path) -> None:
    browser.look(width=390)
    browser.open(grid_path.as_uri())
    browser.run("cards[0].seek(3); cards[0].play()")
    wait_for(browser, "cards[0].audio.currentTime > 3.1")
    click(browser, ".card:nth-of-type(5) .play")
    wait_for(browser, "!cards[4].audio.paused")
    assert browser.run("cards[4].audio.currentTime") >= 3.1
    assert browser.run("cards[0].audio.paused")
    assert browser.run("document.querySelectorAll('h2')[4].innerText") == "The Lanterns · Rock"  # no heads on a phone


def test_a_grid_names_what_its_headings_do_not(browser: Browser, tmp_path: Path) -> None:
    candidates = [
        candidate(tmp_path, 0, levels=1, title="The piece", labels={"From": "2.00 s"}),
        candidate(tmp_path, 1, levels=1, title="song 7.wav"),
        candidate(tmp_path, 2, levels=1, title="a.wav · The piece"),
        candidate(tmp_path, 3, levels=1, title="The catalogue", labels={"Piece": "a.wav"}),
    ]
    grid = Grid(["a.wav", "a.wav"], ["The piece", "The catalogue"])
    path = write_listening_page(tmp_path, ListeningPage("Agreements", candidates, grid=grid))
    browser.look()
    browser.open(path.as_uri())
    heads = browser.run("""[...document.querySelectorAll(".card-head")].map((head) =>
        head.checkVisibility() && head.innerText.split(/\\s*\\n\\s*/))""")
    assert heads == [["The piece", "From 2.00 s"], ["song 7.wav"], False, False]


# Weight ----------------------------------------------------------------------------------------------------------


def test_a_large_page_stays_small(browser: Browser, tmp_path: Path, record_property: Any) -> None:
    candidates = [
        candidate(tmp_path, number, seconds=60, sung=LyricTiming(
            LYRICS * 20,
            torch.randint(len(LYRICS) * 20, (60 * 44100 // 128,)).int(),
            44100 / 128,
            torch.randint(256, (320, 720)).to(torch.uint8) // 2 * (torch.rand(320, 720) < 0.1),
        ))
        for number in range(4)
    ]  # fmt: skip
    path = write_listening_page(tmp_path, ListeningPage("Four candidates, three levels", candidates))
    assert path.stat().st_size <= 2**20
    started = time.perf_counter()
    browser.look()
    browser.open(path.as_uri())
    record_property("opening_time_in_s", time.perf_counter() - started)
    record_property("html_size_in_bytes", path.stat().st_size)
    assert browser.run("cards.length") == 4


# What cannot be shown --------------------------------------------------------------------------------------------


def test_wrong_pages_are_refused(tmp_path: Path) -> None:
    one = candidate(tmp_path, 0)
    with pytest.raises(ValueError, match="at least one candidate"):
        ListeningPage("Empty", [])
    with pytest.raises(ValueError, match="has no audio"):
        ListeningPage("Silent", [Candidate("Silent", {})])
    with pytest.raises(ValueError, match="does not hold 1 candidates"):
        ListeningPage("Grid", [one], grid=Grid(["a"], ["b", "c"]))
    for outside in (tmp_path / "level_0/item 0.wav", "../elsewhere.wav"):
        with pytest.raises(ValueError, match="must lie in the page's folder"):
            write_listening_page(tmp_path, ListeningPage("Outside", [Candidate("Outside", {0: outside})]))


def test_a_failure_leaves_the_older_page(tmp_path: Path) -> None:
    path = write_listening_page(tmp_path, ListeningPage("First", [candidate(tmp_path, 0)]))
    before = path.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        write_listening_page(tmp_path, ListeningPage("Second", [Candidate("Gone", {0: "missing.wav"})]))
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["index.html"]
    blocked = tmp_path / "blocked"
    (blocked / "index.html").mkdir(parents=True)
    page = ListeningPage("Third", [candidate(blocked, 0)])
    with pytest.raises(OSError, match="cannot be written"):
        write_listening_page(blocked, page)


def test_missing_audio_is_reported_on_the_page(browser: Browser, tmp_path: Path) -> None:
    path = write_listening_page(tmp_path, ListeningPage("Moved", [candidate(tmp_path, 0, levels=1)]))
    (tmp_path / "level_0" / "item 0.wav").unlink()
    browser.open(path.as_uri())
    wait_for(browser, "document.querySelector('.card .note') !== null")
    note = browser.run("document.querySelector('.card .note').textContent")
    assert note == "level_0/item 0.wav cannot be played: it must be in the folder of this page."
