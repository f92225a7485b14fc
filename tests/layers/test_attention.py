"""Every attention pattern against the table that defines it, and its step against its whole pass."""

import pytest
import torch
from helpers.random_priors import randomize

from hf_jukebox.layers.attention import (
    ATTENTION_CLASSES,
    Attention,
    AttentionKind,
    AttentionShape,
    StepPosition,
    attention_kinds,
)

# Four rows of six. In a layer with joint lyrics three lyrics come first, and it may see (3 // 4 + 1) * 4 positions.
ROWS, COLUMNS = 4, 6
SHAPE = AttentionShape(width=10, state=8, heads=2, rows=ROWS, positions=ROWS * COLUMNS, num_lyrics=3)

each_kind = pytest.mark.parametrize("kind", list(AttentionKind))


def table(kind: AttentionKind, i: int, j: int) -> bool:
    """Return True if position i sees position (or lyric) j, by the definition of each kind."""
    row, column = divmod(i, COLUMNS)
    row_of_key, column_of_key = divmod(j, COLUMNS)
    match kind:
        case AttentionKind.DENSE:
            return j <= i
        case AttentionKind.ROW:
            return row_of_key == row and j <= i
        case AttentionKind.COLUMN:
            return column_of_key == column and j <= i
        case AttentionKind.PREVIOUS_ROW:
            return row_of_key == row - 1
        case AttentionKind.LYRICS:
            return True
        case AttentionKind.JOINT_LYRICS:
            return j <= i and j < 4


def expected_mask(kind: AttentionKind, queries: int, keys: int) -> torch.Tensor:
    return torch.tensor([[table(kind, i, j) for j in range(keys)] for i in range(queries)])


def attention(kind: AttentionKind, dtype: torch.dtype = torch.float64) -> Attention:
    layer = ATTENTION_CLASSES[kind](SHAPE)
    randomize(layer, seed=int(kind))
    return layer.to(dtype)


def inputs(batch_size: int = 2, length: int = SHAPE.positions) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch_size, length, SHAPE.width, generator=generator, dtype=torch.float64)
    return x, torch.randn(batch_size, SHAPE.num_lyrics, SHAPE.width, generator=generator, dtype=torch.float64)


def num_keys(kind: AttentionKind, length: int = SHAPE.positions) -> int:
    return SHAPE.num_lyrics if kind == AttentionKind.LYRICS else length


@each_kind
def test_a_position_sees_what_the_table_says(kind: AttentionKind) -> None:
    mask = attention(kind).mask(SHAPE.positions, num_keys(kind), torch.device("cpu"))
    assert torch.equal(mask, expected_mask(kind, SHAPE.positions, num_keys(kind)))


@each_kind
def test_outputs_depend_on_exactly_what_they_see(kind: AttentionKind) -> None:
    x, lyrics = inputs(batch_size=1)
    keys = lyrics if kind == AttentionKind.LYRICS else x
    keys.requires_grad_()
    output = attention(kind)(x, lyrics)[0]
    depends = torch.stack(
        [torch.autograd.grad(at.sum(), keys, retain_graph=True)[0][0].abs().sum(-1) > 0 for at in output]
    )
    expected = expected_mask(kind, SHAPE.positions, num_keys(kind))
    if kind != AttentionKind.LYRICS:  # a position asks by what it is itself, where it sees anything to choose from
        expected |= torch.diag(expected.sum(1) > 1)
    assert torch.equal(depends, expected)


@each_kind
def test_recorded_weights_reproduce_the_output_of_the_pass(kind: AttentionKind) -> None:
    layer = attention(kind)
    x, lyrics = inputs()
    source = lyrics if kind == AttentionKind.LYRICS else x
    projection = layer.kv_proj if kind == AttentionKind.LYRICS else layer.qkv_proj
    values = projection(source)[..., -SHAPE.state :].unflatten(-1, (SHAPE.heads, SHAPE.head_dim))
    heads = [layer.weights(x, lyrics, head).double() @ values[:, :, head] for head in range(SHAPE.heads)]
    torch.testing.assert_close(layer(x, lyrics), layer.out_proj(torch.cat(heads, dim=-1)), rtol=0, atol=1e-6)


def test_the_first_row_of_previous_row_attention_outputs_the_bias() -> None:
    layer = attention(AttentionKind.PREVIOUS_ROW)
    x, _ = inputs()
    output = layer(x)
    assert torch.equal(output[:, :COLUMNS], layer.out_proj.bias.expand(2, COLUMNS, -1))
    assert not torch.allclose(output[:, COLUMNS:], layer.out_proj.bias)


@pytest.mark.parametrize("known_rows", [0, 1, 2, 3])
@each_kind
def test_steps_continue_a_prefilled_cache(kind: AttentionKind, known_rows: int) -> None:
    layer = attention(kind)
    x, lyrics = inputs()
    whole = layer(x, lyrics)
    cache = layer.new_cache(2, torch.float64, torch.device("cpu"))
    known = known_rows * COLUMNS
    if kind == AttentionKind.LYRICS:
        layer.prefill_lyrics(lyrics, cache)
    if known:
        torch.testing.assert_close(layer(x[:, :known], lyrics, cache), whole[:, :known])
    index = torch.arange(SHAPE.positions)[None]
    for position in range(known, SHAPE.positions):
        at = StepPosition.at(torch.tensor([position]), index, SHAPE)
        step = layer.step(x[:, position : position + 1], at, cache)
        torch.testing.assert_close(step[:, 0], whole[:, position], rtol=0, atol=1e-12)


@each_kind
def test_a_pass_over_some_rows_equals_the_start_of_a_longer_pass(kind: AttentionKind) -> None:
    layer = attention(kind)
    x, lyrics = inputs()
    whole = layer(x, lyrics)
    for rows in range(1, ROWS):
        torch.testing.assert_close(layer(x[:, : rows * COLUMNS], lyrics), whole[:, : rows * COLUMNS])


def test_steps_cross_lyrics_that_fill_all_but_one_column() -> None:
    """With rows of few columns, the keys of a joint lyrics layer reach the end of the window."""
    shape = AttentionShape(width=10, state=8, heads=2, rows=4, positions=8, num_lyrics=4)
    layer = ATTENTION_CLASSES[AttentionKind.JOINT_LYRICS](shape)
    randomize(layer)
    layer.double()
    x, _ = inputs(length=8)
    whole, cache = layer(x), layer.new_cache(2, torch.float64, torch.device("cpu"))
    for position in range(8):
        at = StepPosition.at(torch.tensor([position]), torch.arange(8)[None], shape)
        step = layer.step(x[:, position : position + 1], at, cache)
        torch.testing.assert_close(step[:, 0], whole[:, position], rtol=0, atol=1e-12)


def test_lyrics_attention_without_lyrics_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs the states of the lyrics encoder"):
        attention(AttentionKind.LYRICS)(inputs()[0])


@pytest.mark.parametrize(
    ("order", "depth", "kinds"),
    [
        (0, 3, "000"),
        (2, 7, "1231231"),
        (8, 21, "1231231236" * 2 + "1"),
        (10, 30, "123" * 3 + "1231231236" * 2 + "1"),
        (12, 49, "123" * 5 + "7" + "231" * 5 + "7" + "312" * 5 + "0" + "1"),
    ],
)
def test_the_attention_kinds_of_an_order(order: int, depth: int, kinds: str) -> None:
    assert "".join(str(int(kind)) for kind in attention_kinds(order, depth)) == kinds


def test_the_attention_kinds_of_the_released_priors_with_lyrics() -> None:
    joint = attention_kinds(12, 72)
    assert [layer for layer, kind in enumerate(joint) if kind == AttentionKind.JOINT_LYRICS] == [15, 31, 63]
    assert [layer for layer, kind in enumerate(joint) if kind == AttentionKind.DENSE] == [47]
    separate = attention_kinds(10, 79)
    readers = [layer for layer, kind in enumerate(separate) if kind == AttentionKind.LYRICS]
    assert readers == [18, 28, 38, 48, 58, 68, 78]


def test_an_unknown_order_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"Attention order 3 .* choose one of \(0, 2, 8, 10, 12\)"):
        attention_kinds(3, 12)
