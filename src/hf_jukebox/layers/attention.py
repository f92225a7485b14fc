"""Attention patterns of Jukebox, each as a whole pass and as one step over a cache of fixed shape.

A window of `positions` is folded into `rows` of `columns`; position `i` stands at row `i // columns`, column
`i % columns` (sparse transformers, Child et al. 2019). A pattern defines which keys a position sees. In a step no
pattern needs more than a few rows of keys, so each cache has a shape of its own and is written in place, at a position
that is a tensor: one step is one static graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import nn

from .fast_paths import Linear, pass_attention, step_attention, step_linear


class AttentionKind(IntEnum):
    """Kinds of attention, numbered as in the published configurations."""

    DENSE = 0
    ROW = 1
    COLUMN = 2
    PREVIOUS_ROW = 3
    LYRICS = 6
    JOINT_LYRICS = 7


ATTENTION_ORDERS = (0, 2, 8, 10, 12)
_FOLDED = (AttentionKind.ROW, AttentionKind.COLUMN, AttentionKind.PREVIOUS_ROW)


def attention_kinds(order: int, depth: int) -> list[AttentionKind]:
    """Return the kind of each of `depth` layers under an attention `order` of the published models.

    Raises:
        ValueError: no released model uses this order.
    """

    def kind(layer: int) -> AttentionKind:
        if order == 0:
            return AttentionKind.DENSE
        if order == 12 and layer % 16 == 15:
            return AttentionKind.DENSE if layer % 3 == 2 else AttentionKind.JOINT_LYRICS
        # Period 10, whose last layer attends to the lyrics; order 10 has nine more layers in front.
        if order in (8, 10):
            shifted = layer if order == 8 else layer - 9
            if shifted >= 0 and shifted % 10 == 9:
                return AttentionKind.LYRICS
            return _FOLDED[(shifted % 10 if shifted >= 0 else layer) % 3]
        return _FOLDED[layer % 3]

    if order not in ATTENTION_ORDERS:
        raise ValueError(
            f"Attention order {order} is not used by any released model; choose one of {ATTENTION_ORDERS}."
        )
    return [kind(layer) for layer in range(depth)]


@dataclass(frozen=True)
class AttentionShape:
    """Sizes that all attention layers of a transformer share."""

    width: int
    state: int
    heads: int
    rows: int
    positions: int
    num_lyrics: int = 0  # keys that LYRICS and JOINT_LYRICS layers see

    @property
    def columns(self) -> int:
        return self.positions // self.rows

    @property
    def head_dim(self) -> int:
        return self.state // self.heads

    @property
    def joint_keys(self) -> int:
        """Positions that a JOINT_LYRICS layer may see: the lyrics, rounded up to the next multiple of `rows`."""
        return (self.num_lyrics // self.rows + 1) * self.rows


@dataclass
class StepPosition:
    """Position of a step, computed once and shared by all layers. All tensors, so that nothing waits for the host.

    Usually one for all rows, n = 1. Kernels of a CPU also take n successive positions of one song and one row of
    columns, a row of the batch each.
    """

    position: torch.Tensor  # [n]
    column: torch.Tensor  # [n]
    slot_by_column: torch.Tensor  # [n] of a cache that holds the window column by column
    slot_of_two_rows: torch.Tensor  # [n] of a cache that holds two rows, written in turn
    previous_of_two: torch.Tensor  # [n] the one of them that holds the previous row
    row_mask: torch.Tensor  # [n, columns] keys of the own row up to here
    column_mask: torch.Tensor  # [n, rows] keys of the own column up to here
    index: torch.Tensor  # [1, positions] 0, 1, 2 ...
    count: torch.Tensor | None = None  # [1] of the n positions, how many are computed; None for all

    @classmethod
    def at(
        cls,
        position: torch.Tensor,
        index: torch.Tensor,
        shape: AttentionShape,
        count: torch.Tensor | None = None,
    ) -> StepPosition:
        """Compute the masks of `position` `[n]` of a window; `index` `[1, positions]` counts the positions."""
        row = position // shape.columns
        column = position - row * shape.columns
        current_of_two = row % 2
        return cls(
            position=position,
            column=column,
            slot_by_column=column * shape.rows + row,
            slot_of_two_rows=current_of_two * shape.columns + column,
            previous_of_two=1 - current_of_two,
            row_mask=index[:, : shape.columns] <= column[:, None],
            column_mask=index[:, : shape.rows] <= row[:, None],
            index=index,
            count=count,
        )

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The fields of one position, in their order."""
        return (
            self.position,
            self.column,
            self.slot_by_column,
            self.slot_of_two_rows,
            self.previous_of_two,
            self.row_mask,
            self.column_mask,
            self.index,
        )


@dataclass(frozen=True)
class KeyRange:
    """Keys that a step sees, as slots of the cache that follow each other.

    Attributes:
        length: How many there are at most.
        slot: `[n]`, of this position's own key; None if the step writes none.
        first: `[n]`, slot of the first one; None for slot 0.
        last: `[n]`, the last one that the position sees, its own unless it lies beyond `length`; None for all, and the
            position does not see itself.
    """

    length: int
    slot: torch.Tensor | None = None
    first: torch.Tensor | None = None
    last: torch.Tensor | None = None


class Attention(nn.Module):
    """Projections around a pattern, by default the dense one: a position sees all up to itself.

    The patterns override the methods of the last section. `kv` below is `[2, B, heads, T, head_dim]`.
    """

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv_proj = Linear(shape.width, 3 * shape.state)
        self.out_proj = Linear(shape.state, shape.width)

    def forward(
        self, x: torch.Tensor, lyrics: torch.Tensor | None = None, cache: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attend over `x` `[B, T, width]`, T positions from the window's start, a multiple of `columns`.

        Keys and values are also written to a `cache`, so that `step` can continue from it.
        """
        q, k, v = self._project(x, lyrics)
        if cache is not None:
            self.write_prefix(cache, torch.stack((k, v)))
        return self.out_proj(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def step(self, x: torch.Tensor, at: StepPosition, cache: torch.Tensor) -> torch.Tensor:
        """Attend from one position, `x` `[B, 1, width]`, over the cache, and append the position to it."""
        qkv = self._stack_heads(step_linear(self.qkv_proj, x), 3)
        cache.index_copy_(3, self.cache_slot(at), qkv[1:])
        keys, values = self.keys_for(cache, at).unbind(0)
        attended = step_attention(qkv[0], keys, values, self.keys_mask(at))
        return step_linear(self.out_proj, attended.transpose(1, 2).flatten(2))

    def weights(self, x: torch.Tensor, lyrics: torch.Tensor | None, head: int) -> torch.Tensor:
        """Return the weights of one head over `x`, `[B, T, T]`, or `[B, T, num_lyrics]` where the keys are lyrics."""
        q, k, _ = self._project(x, lyrics)
        q, k = q[:, head].float(), k[:, head].float()
        scores = q @ k.transpose(1, 2) * self.shape.head_dim**-0.5
        mask = self.mask(x.shape[1], k.shape[1], x.device)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        return weights.nan_to_num(0.0)  # a position that sees nothing

    def new_cache(self, batch_size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Return an empty cache `[2, B, heads, slots, head_dim]`."""
        shape = self.shape
        return torch.zeros(2, batch_size, shape.heads, self.cache_slots, shape.head_dim, dtype=dtype, device=device)

    def _project(self, x: torch.Tensor, lyrics: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values, `[B, heads, T, head_dim]` each."""
        q, k, v = self._split_heads(self.qkv_proj(x), 3)
        return q, k, v

    def _split_heads(self, x: torch.Tensor, parts: int) -> list[torch.Tensor]:
        """Reshape `[B, T, parts * state]` to `parts` of `[B, heads, T, head_dim]`."""
        # Unbind before transposing, so that autograd joins the gradients of the parts in one pass.
        return [part.transpose(1, 2) for part in self._heads(x, parts).unbind(2)]

    def _stack_heads(self, x: torch.Tensor, parts: int) -> torch.Tensor:
        """Do the same in one tensor, `[parts, B, heads, T, head_dim]`."""
        return self._heads(x, parts).permute(2, 0, 3, 1, 4)

    def _heads(self, x: torch.Tensor, parts: int) -> torch.Tensor:
        return x.unflatten(2, (parts, self.shape.heads, self.shape.head_dim))

    # The pattern ---------------------------------------------------------------------------------------------------

    @property
    def cache_slots(self) -> int:
        """Positions that the cache holds."""
        return self.shape.positions

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend in a whole pass, `[B, heads, T, head_dim]`."""
        return pass_attention(q, k, v, is_causal=True)

    def write_prefix(self, cache: torch.Tensor, kv: torch.Tensor) -> None:
        """Write the keys and values of a whole pass, those of the window's first positions, to the cache."""
        cache[:, :, :, : kv.shape[3]] = kv

    def cache_slot(self, at: StepPosition) -> torch.Tensor:
        """Return the slot of the cache for this position, `[1]`."""
        return at.position

    def keys_for(self, cache: torch.Tensor, at: StepPosition) -> torch.Tensor:
        """Return the part of the cache that this position may see."""
        return cache

    def keys_mask(self, at: StepPosition) -> torch.Tensor | None:
        """Mask the keys that this position sees, `[1, keys]`; None if it sees all of them."""
        return at.index <= at.position

    def mask(self, queries: int, keys: int, device: torch.device) -> torch.Tensor:
        """Return the full pattern `[queries, keys]`, as `weights` needs it."""
        i, j = torch.arange(queries, device=device)[:, None], torch.arange(keys, device=device)[None]
        return self.sees(i, j)

    def key_range(self, at: StepPosition) -> KeyRange:
        """Return the same keys as slots, for kernels that read the cache itself."""
        return KeyRange(self.shape.positions, self.cache_slot(at), last=at.position)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Return True where position `i` sees key `j`: the definition of the pattern."""
        return j <= i


class RowAttention(Attention):
    """Attention within rows: a position sees its own row up to itself. The cache holds one row."""

    @property
    def cache_slots(self) -> int:
        return self.shape.columns

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns
        q_rows, k_rows, v_rows = _fold(q, columns), _fold(k, columns), _fold(v, columns)
        return _unfold(pass_attention(q_rows, k_rows, v_rows, is_causal=True), like=q)

    def write_prefix(self, cache: torch.Tensor, kv: torch.Tensor) -> None:
        cache.copy_(kv[:, :, :, -self.shape.columns :])

    def cache_slot(self, at: StepPosition) -> torch.Tensor:
        return at.column

    def keys_mask(self, at: StepPosition) -> torch.Tensor | None:
        return at.row_mask

    def key_range(self, at: StepPosition) -> KeyRange:
        return KeyRange(self.shape.columns, self.cache_slot(at), last=at.column)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns
        return (j <= i) & (i // columns == j // columns)


class ColumnAttention(Attention):
    """Attention within columns: a position sees its own column up to itself. The cache holds the window by columns."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns
        rows = q.shape[2] // columns

        def transpose(x: torch.Tensor, first: int, second: int) -> torch.Tensor:
            return x.unflatten(2, (first, second)).transpose(2, 3).flatten(2, 3)

        q_columns, k_columns, v_columns = (_fold(transpose(x, rows, columns), rows) for x in (q, k, v))
        attended = pass_attention(q_columns, k_columns, v_columns, is_causal=True)
        return transpose(_unfold(attended, like=q), columns, rows)

    def write_prefix(self, cache: torch.Tensor, kv: torch.Tensor) -> None:
        by_column = self._by_column(cache)
        rows = kv.shape[3] // self.shape.columns
        by_column[:, :, :, :, :rows] = kv.unflatten(3, (rows, self.shape.columns)).transpose(3, 4)

    def cache_slot(self, at: StepPosition) -> torch.Tensor:
        return at.slot_by_column

    def keys_for(self, cache: torch.Tensor, at: StepPosition) -> torch.Tensor:
        return self._by_column(cache).index_select(3, at.column).squeeze(3)

    def keys_mask(self, at: StepPosition) -> torch.Tensor | None:
        return at.column_mask

    def key_range(self, at: StepPosition) -> KeyRange:
        first = at.column * self.shape.rows
        return KeyRange(self.shape.rows, self.cache_slot(at), first, last=at.slot_by_column - first)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns
        return (j <= i) & (i % columns == j % columns)

    def _by_column(self, cache: torch.Tensor) -> torch.Tensor:
        return cache.unflatten(3, (self.shape.columns, self.shape.rows))


class PreviousRowAttention(Attention):
    """Attention to the previous row: a position sees all of it; in the first row nothing, and the output is zero.

    The cache holds two rows, written in turn. Before the first row is full the other one is zero: its keys weigh the
    same and its values are zero, so the output is zero without a special case.
    """

    @property
    def cache_slots(self) -> int:
        return 2 * self.shape.columns

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns

        def shifted(x: torch.Tensor) -> torch.Tensor:
            return F.pad(x, (0, 0, columns, 0))[:, :, : x.shape[2]]

        q_rows, k_rows, v_rows = _fold(q, columns), _fold(shifted(k), columns), _fold(shifted(v), columns)
        return _unfold(pass_attention(q_rows, k_rows, v_rows), like=q)

    def write_prefix(self, cache: torch.Tensor, kv: torch.Tensor) -> None:
        columns = self.shape.columns
        rows = kv.shape[3] // columns
        for row in range(max(0, rows - 2), rows):
            slot = (row % 2) * columns
            cache[:, :, :, slot : slot + columns] = kv[:, :, :, row * columns : (row + 1) * columns]

    def cache_slot(self, at: StepPosition) -> torch.Tensor:
        return at.slot_of_two_rows

    def keys_for(self, cache: torch.Tensor, at: StepPosition) -> torch.Tensor:
        return cache.unflatten(3, (2, self.shape.columns)).index_select(3, at.previous_of_two).squeeze(3)

    def keys_mask(self, at: StepPosition) -> torch.Tensor | None:
        return None

    def key_range(self, at: StepPosition) -> KeyRange:
        return KeyRange(self.shape.columns, self.cache_slot(at), at.previous_of_two * self.shape.columns)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        columns = self.shape.columns
        return i // columns == j // columns + 1


class LyricsAttention(Attention):
    """Attention to all states of the separate lyrics encoder. The cache holds them, and no step changes it."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__(shape)
        del self.qkv_proj
        self.q_proj = Linear(shape.width, shape.state)
        self.kv_proj = Linear(shape.width, 2 * shape.state)

    def _project(self, x: torch.Tensor, lyrics: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if lyrics is None:
            raise ValueError("A lyrics attention layer needs the states of the lyrics encoder.")
        (q,), (k, v) = self._split_heads(self.q_proj(x), 1), self._split_heads(self.kv_proj(lyrics), 2)
        return q, k, v

    def prefill_lyrics(self, lyrics: torch.Tensor, cache: torch.Tensor) -> None:
        """Write the encoder's states `[B, num_lyrics, width]` to the cache."""
        self.write_prefix(cache, self._stack_heads(self.kv_proj(lyrics), 2))

    def step(self, x: torch.Tensor, at: StepPosition, cache: torch.Tensor) -> torch.Tensor:
        (q,) = self._split_heads(step_linear(self.q_proj, x), 1)
        attended = step_attention(q, cache[0], cache[1], None)
        return step_linear(self.out_proj, attended.transpose(1, 2).flatten(2))

    @property
    def cache_slots(self) -> int:
        return self.shape.num_lyrics

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return pass_attention(q, k, v)

    def key_range(self, at: StepPosition) -> KeyRange:
        return KeyRange(self.shape.num_lyrics)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (i >= 0) & (j >= 0)


class JointLyricsAttention(Attention):
    """Attention to the lyrics at the start of the same sequence, as far as they precede the position.

    The cache has one slot more than there are keys, for the positions after the lyrics, which no position sees.
    """

    @property
    def cache_slots(self) -> int:
        return min(self.shape.joint_keys + 1, self.shape.positions)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys = self.shape.joint_keys
        k, v = k[:, :, :keys], v[:, :, :keys]
        among_keys = pass_attention(q[:, :, :keys], k, v, is_causal=True)
        if q.shape[2] <= keys:
            return among_keys
        return torch.cat([among_keys, pass_attention(q[:, :, keys:], k, v)], dim=2)

    def write_prefix(self, cache: torch.Tensor, kv: torch.Tensor) -> None:
        keys = min(self.shape.joint_keys, kv.shape[3])
        cache[:, :, :, :keys] = kv[:, :, :, :keys]

    def cache_slot(self, at: StepPosition) -> torch.Tensor:
        return at.position.clamp_max(self.shape.joint_keys)

    def keys_mask(self, at: StepPosition) -> torch.Tensor | None:
        return at.index[:, : self.cache_slots] <= at.position.clamp_max(self.shape.joint_keys - 1)

    def key_range(self, at: StepPosition) -> KeyRange:
        return KeyRange(self.shape.joint_keys, self.cache_slot(at), last=at.position)

    def sees(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        return (j <= i) & (j < self.shape.joint_keys)


ATTENTION_CLASSES: dict[AttentionKind, type[Attention]] = {
    AttentionKind.DENSE: Attention,
    AttentionKind.ROW: RowAttention,
    AttentionKind.COLUMN: ColumnAttention,
    AttentionKind.PREVIOUS_ROW: PreviousRowAttention,
    AttentionKind.LYRICS: LyricsAttention,
    AttentionKind.JOINT_LYRICS: JointLyricsAttention,
}


def _fold(x: torch.Tensor, length: int) -> torch.Tensor:
    """Move spans of `length` to the batch, `[B, heads, T, d] -> [B * T / length, heads, length, d]`."""
    return x.unflatten(2, (-1, length)).transpose(1, 2).flatten(0, 1)


def _unfold(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Undo `_fold` of a tensor shaped `like`."""
    return x.unflatten(0, (like.shape[0], -1)).transpose(1, 2).flatten(2, 3)
