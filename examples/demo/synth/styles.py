"""Patterns of each style, one bar of sixteen steps each.

    drums   X accent, x hit, o ghost note, . rest
    bass    1 root, 3 5 7 chord tones, 8 octave, - held, . rest
    chords  x struck, - held, . rest

Spaces mark the beats and mean nothing.
"""

from dataclasses import dataclass

MAJOR: tuple[int, ...] = (0, 2, 4, 5, 7, 9, 11)
MIXOLYDIAN: tuple[int, ...] = (0, 2, 4, 5, 7, 9, 10)
DORIAN: tuple[int, ...] = (0, 2, 3, 5, 7, 9, 10)
MINOR: tuple[int, ...] = (0, 2, 3, 5, 7, 8, 10)

MODE_NAMES = {MAJOR: "major", MIXOLYDIAN: "mixolydian", DORIAN: "dorian", MINOR: "minor"}
KEYS = {
    "C": 0,
    "D": 2,
    "E": 4,
    "F": 5,
    "G": 7,
    "A": 9,
}  # six of twelve, so that each is frequent enough for a small model


def _tempo(codes: int) -> float:
    """Return the beats per minute at which a sixteenth note lasts that many top-level codes of the demo model.

    One tempo a style, on the grid of the codes (256 samples at 22050 Hz): every beat then begins where a code begins,
    which leaves less to learn for a model as small as the demo's.
    """
    return 60 * 22050 / (4 * 256 * codes)


@dataclass(frozen=True)
class Style:
    bpm: float
    swing: float  # delay of every second sixteenth, in sixteenths
    grooves: tuple[dict[str, str], ...]
    fills: tuple[dict[str, str], ...]  # replace the last beats of a bar, from the first step that is not blank
    basses: tuple[str, ...]  # patterns
    pickup: str  # the bass at the end of a phrase, leading back
    chords: tuple[tuple[str, str], ...]  # (sound, pattern)
    bass_sounds: tuple[str, ...]
    progressions: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]  # (mode, degree of each bar, 0 = tonic)
    voices: int = 3  # notes of a chord: 2 power chord, 3 triad, 4 seventh chord
    ducking: float = 0.0  # attenuation of bass and chords by the kick


_FILLS = (
    {"snare": ".... .... .... xoxX", "kick": ".... .... .... x..."},
    {"snare": ".... .... ..xx XXXX", "kick": ".... .... x... x..."},
    {"high_tom": ".... .... .... xx..", "low_tom": ".... .... .... ..xX", "kick": ".... .... .... x..."},
    {"snare": ".... .... xx.. ....", "high_tom": ".... .... ..xx x...", "low_tom": ".... .... .... .xXX"},
)

STYLES = {
    "rock": Style(
        bpm=_tempo(11),
        swing=0.0,
        grooves=(
            {"kick": "X... ..x. X... ....", "snare": ".... X... .... X...", "hat": "X.x. X.x. X.x. X.x."},
            {"kick": "X... ..x. ..x. ....", "snare": ".... X... .... X..o", "hat": "X.x. X.x. X.x. X.x."},
            {
                "kick": "X.x. .... X.x. ....",
                "snare": ".... X... .... X...",
                "hat": "X.x. X.x. X.x. X...",
                "open": ".... .... .... ..x.",
            },
        ),
        fills=_FILLS,
        basses=("1.1. 1.1. 1.1. 1.1.", "1--- ..1. 1--- 5.8.", "1.1. ..1. 1.1. 5.3."),
        pickup="5.7.",
        chords=(
            ("crunch_guitar", "x-x- x-x- x-x- x-x-"),
            ("crunch_guitar", "x--- --x- x--- ----"),
            ("organ", "x--- ---- x--- --x-"),
        ),
        bass_sounds=("finger",),
        progressions=((MAJOR, (0, 4, 5, 3)), (MAJOR, (0, 3, 5, 4)), (MIXOLYDIAN, (0, 6, 3, 0)), (MINOR, (0, 5, 2, 6))),
        voices=2,
    ),
    "house": Style(
        bpm=_tempo(10),
        swing=0.08,
        grooves=(
            {
                "kick": "X... X... X... X...",
                "clap": ".... x... .... x...",
                "open": "..x. ..x. ..x. ..x.",
                "hat": "x..x x..x x..x x..x",
            },
            {
                "kick": "X... X... X... X...",
                "clap": ".... x... .... x...",
                "open": "..x. ..x. ..x. ..x.",
                "shaker": "xoXo xoXo xoXo xoXo",
            },
            {
                "kick": "X... X... X... X..x",
                "clap": ".... x... .... x...",
                "open": "..x. ..x. ..x. ..x.",
                "rim": "...x ..x. ...x ..x.",
            },
        ),
        fills=(
            {"kick": ".... .... .... X...", "clap": ".... .... .... x.xx"},
            {"snare": ".... .... x.x. xxXX", "kick": ".... .... X... X..."},
            {"clap": ".... .... .... x..x", "rim": ".... .... .x.x .xx.", "kick": ".... .... X... ...."},
        ),
        basses=("..1. ..1. ..1. ..8.", "..1. .1.. ..1. .18.", "1..1 ..1. .1.. 1.8."),
        pickup="..5.",
        chords=(
            ("pluck", "x--. .x-- ..x- -.x-"),
            ("pluck", "..x- ..x- ..x- ..x-"),
            ("electric_piano", "x--x --x- -... x-x-"),
            ("pad", "x--- ---- ---- ----"),
        ),
        bass_sounds=("synth", "sub"),
        progressions=((MINOR, (0, 5, 2, 6)), (MINOR, (0, 3, 5, 4)), (MINOR, (0, 0, 5, 6)), (DORIAN, (0, 3, 0, 3))),
        voices=4,
        ducking=0.6,
    ),
    "hip_hop": Style(
        bpm=_tempo(14),
        swing=0.28,
        grooves=(
            {"kick": "X..x ..x. ..X. ....", "snare": ".... X... .... X...", "hat": "x.x. x.x. x.x. x.x."},
            {"kick": "X... ...x X.x. ....", "snare": ".... X... .... X...", "hat": "xoxo xoxo xoxo xoxo"},
            {"kick": "X.x. .... .xX. ...x", "snare": ".... X..o .o.. X...", "hat": "x.x. x.x. x.x. x.xx"},
        ),
        fills=(
            {"snare": ".... .... .... X.oX", "kick": ".... .... .... ..x."},
            {"snare": ".... .... .... X...", "hat": ".... .... .... xxxx", "kick": ".... .... .... .x.x"},
            {"clap": ".... .... .... X.XX", "open": ".... .... .... ..x."},
        ),
        basses=("1--- ..1. ..5- --8.", "1--- ---1 1-.. 7-5.", "1-.1 ..1. .51- ...."),
        pickup="..5.",
        chords=(
            ("electric_piano", "x--- ---- ..x- ----"),
            ("electric_piano", "x--. ..x- --.. x--."),
            ("pluck", "..x. ..x. ..x. .x.."),
        ),
        bass_sounds=("sub",),
        progressions=((MINOR, (0, 5, 3, 4)), (DORIAN, (0, 3, 0, 3)), (MINOR, (5, 4, 0, 0)), (MINOR, (3, 4, 0, 0))),
        voices=4,
        ducking=0.25,
    ),
    "bossa": Style(
        bpm=_tempo(12),
        swing=0.0,
        grooves=(
            {"kick": "x..o x..o x..o x..o", "rim": "X..X ..X. ..X. .X..", "shaker": "Xoxo Xoxo Xoxo Xoxo"},
            {"kick": "x..o x..o x..o x..o", "rim": "X..X ..X. ..X. X...", "hat": "xoxo xoxo xoxo xoxo"},
            {"kick": "x..o x..o x..o x..o", "rim": "..X. X... X..X ..X.", "hat": "x.xo x.xo x.xo x.xo"},
        ),
        fills=(
            {"rim": ".... .... .... x.xX", "low_tom": ".... .... .... .x.."},
            {"high_tom": ".... .... .... x.x.", "low_tom": ".... .... .... ...X"},
            {"snare": ".... .... .... ooxX"},
        ),
        basses=("1--5 5--5 5--1 1---", "1--- ..5- 5--- ..1-", "1--1 5--. 5--5 1--."),
        pickup="5-7-",
        chords=(
            ("nylon_guitar", "x--x --x- ..x- .x--"),
            ("nylon_guitar", "x--- x--x --x- --x-"),
            ("electric_piano", "x--x ---- ..x- -x--"),
        ),
        bass_sounds=("finger",),
        progressions=((MAJOR, (1, 4, 0, 0)), (MAJOR, (0, 5, 1, 4)), (MAJOR, (0, 3, 1, 4)), (MINOR, (0, 3, 6, 2))),
        voices=4,
    ),
}
