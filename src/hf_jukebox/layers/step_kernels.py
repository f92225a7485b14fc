"""Triton kernels of a decode step: a block in five launches, each of which has its weights before it has its input.

A step of a few songs does little but read the weights, in hundreds of short kernels that wait for each other. Every
kernel here first loads what no kernel of the step writes, weights above all, and only then waits for the kernel before
it (programmatic dependent launch, on GPUs of compute capability 9.0 and newer). Sums have one fixed order.

The norm before a linear layer is folded into its product: `W (gamma (x - mean) / std + beta) + b` is
`(W gamma x - mean W gamma) / std + (W beta + b)`, where `W gamma` and `W beta + b` are known beforehand and one pass
over `x` yields the rest. An attention is split over its keys (flash decoding, Dao et al. 2023); the layer after it
joins the parts by their softmax sums.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,type-arg"

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .fast_paths import GELU_SLOPE

_GELU_SLOPE = tl.constexpr(GELU_SLOPE)


@triton.jit
def linear(
    x,  # [ROWS, IN], or [splits, ROWS, IN] parts of an attention in float32
    weight,  # [OUT, IN]
    scale,  # [OUT] of int8 weights, or None
    bias,  # [OUT]; W beta + b after a norm
    gamma,  # [IN] weight of the norm before the layer, or None
    weight_gamma,  # [OUT] float32, W gamma
    maxima,  # [splits, ROWS, heads] of the scores of an attention, or None
    sums,  # [splits, ROWS, heads] of their exponentials
    residual,  # [ROWS, OUT] added to the result, or None
    start,  # [ROWS, OUT] input of the block if its residual is scaled, or None
    out,  # [ROWS, OUT]
    cache,  # [2, ROWS, heads, SLOTS, HEAD_DIM] that takes the keys and values of a projection, or None
    slot,  # [1] their slot
    eps,
    res_scale,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SPLITS: tl.constexpr,  # 0: x is no attention
    SLOTS: tl.constexpr,
    HAS_GELU: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    NUM_STAGES: tl.constexpr,
    IS_EARLY: tl.constexpr,  # start before the kernel before it has ended
):
    """Apply a linear layer to a few rows, with the norm or attention before it and what comes after it.

    A row has the same sums however many there are.
    """
    outputs = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    first_inputs = tl.arange(0, BLOCK_IN)
    is_output, is_input = outputs < OUT, first_inputs < IN
    first_weights = _load_weights(weight, outputs, first_inputs, is_output, is_input, IN)
    added = tl.load(bias + outputs, mask=is_output, other=0).to(tl.float32)
    if scale is not None:
        scales = tl.load(scale + outputs, mask=is_output, other=0).to(tl.float32)
    if gamma is not None:
        first_gamma = tl.load(gamma + first_inputs, mask=is_input, other=0)
        w_gamma = tl.load(weight_gamma + outputs, mask=is_output, other=0)
    # The attention reads slots of its cache before it waits, so it must not start before the steps until now have
    # ended: the projection in front of it waits first.
    _wait(IS_EARLY, slot is None)
    for row in tl.range(ROWS, num_stages=NUM_STAGES):
        part = _load_row(x, maxima, sums, row, first_inputs, is_input, ROWS, IN, HEAD_DIM, SPLITS)
        total, squares = part, part * part
        if gamma is not None:
            part = part * first_gamma
        products = first_weights.to(tl.float32) * part[None]
        for begin in tl.range(BLOCK_IN, IN, BLOCK_IN, num_stages=NUM_STAGES):
            inputs = begin + tl.arange(0, BLOCK_IN)
            is_input = inputs < IN
            weights = _load_weights(weight, outputs, inputs, is_output, is_input, IN)
            part = _load_row(x, maxima, sums, row, inputs, is_input, ROWS, IN, HEAD_DIM, SPLITS)
            if gamma is not None:
                total += part
                squares += part * part
                part = part * tl.load(gamma + inputs, mask=is_input, other=0)
            products += weights.to(tl.float32) * part[None]
        y = tl.sum(products, 1)
        if scale is not None:
            y *= scales
        if gamma is not None:
            total, squares = tl.reduce((total, squares), 0, _add_pairs)
            mean = total / IN
            variance = tl.maximum(squares / IN - mean * mean, 0.0)
            y = (y - mean * w_gamma) * tl.rsqrt(variance + eps)
        y += added
        if HAS_GELU:
            y = y * tl.sigmoid(y * _GELU_SLOPE)
        place = row * OUT + outputs
        if residual is not None:
            y += tl.load(residual + place, mask=is_output, other=0).to(tl.float32)
        if start is not None:
            before = tl.load(start + place, mask=is_output, other=0).to(tl.float32)
            y = before + (y - before) * res_scale
        tl.store(out + place, y.to(out.dtype.element_ty), mask=is_output)
        if slot is not None:
            _store_new_keys(cache, slot, y, row, outputs, is_output, ROWS, OUT // 3, HEAD_DIM, SLOTS)


@triton.jit
def attention(
    q,  # [ROWS, WIDTH], queries, with the new keys and values behind them if HAS_NEW
    cache,  # [2, ROWS, heads, SLOTS, HEAD_DIM]
    first_slot,  # [1] of the first key, or None for slot 0
    last_key,  # [1] index of the last key that the position sees, or None for all
    maxima,  # [splits, ROWS, heads] float32
    sums,  # [splits, ROWS, heads] float32
    out,  # [splits, ROWS, heads * HEAD_DIM] float32; the whole result if there is one split
    factor,  # of the scores
    ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SLOTS: tl.constexpr,
    KEYS: tl.constexpr,
    HAS_NEW: tl.constexpr,  # the last key is that of this position, unless it lies beyond KEYS
    LENGTH: tl.constexpr,  # keys of a part
    BLOCK_KEYS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    """Attend from the query of one row and head to one part of its keys."""
    pair, split = tl.program_id(0), tl.program_id(1)  # a pair is a row and a head
    dims = tl.arange(0, BLOCK_DIM)
    is_dim = dims < HEAD_DIM
    first, last = 0, KEYS
    if first_slot is not None:
        first = tl.load(first_slot)
    if last_key is not None:
        last = tl.load(last_key)
    keys = cache + (pair * SLOTS + first) * HEAD_DIM
    values = keys + ROWS * HEADS * SLOTS * HEAD_DIM
    end = tl.minimum((split + 1) * LENGTH, KEYS)
    index = split * LENGTH + tl.arange(0, BLOCK_KEYS)
    k, v = _load_keys(keys, values, index, dims, is_dim, end, last, HEAD_DIM)
    _wait(IS_EARLY, True)
    state: tl.constexpr = HEADS * HEAD_DIM
    own = q + pair // HEADS * WIDTH + pair % HEADS * HEAD_DIM + dims
    query = tl.load(own, mask=is_dim, other=0).to(tl.float32) * factor
    new_k, new_v = query, query
    if HAS_NEW:
        new_k = tl.load(own + state, mask=is_dim, other=0)
        new_v = tl.load(own + 2 * state, mask=is_dim, other=0)
    highest, total = -float("inf"), 0.0
    result = tl.zeros([BLOCK_DIM], tl.float32)
    highest, total, result = _add_keys(highest, total, result, query, k, v, new_k, new_v, index, end, last, HAS_NEW)
    for begin in tl.range(BLOCK_KEYS, LENGTH, BLOCK_KEYS):
        index = split * LENGTH + begin + tl.arange(0, BLOCK_KEYS)
        k, v = _load_keys(keys, values, index, dims, is_dim, end, last, HEAD_DIM)
        highest, total, result = _add_keys(highest, total, result, query, k, v, new_k, new_v, index, end, last, HAS_NEW)
    part = split * (ROWS * HEADS) + pair
    if LENGTH >= KEYS:
        result = result / total
    else:
        tl.store(maxima + part, highest)
        tl.store(sums + part, total)
    tl.store(out + part * HEAD_DIM + dims, result, mask=is_dim)


@triton.jit
def _wait(IS_EARLY: tl.constexpr, LETS_NEXT_START: tl.constexpr):
    """Wait until the kernel before has ended, and let the next one start: at once, or after the wait."""
    if IS_EARLY:
        if LETS_NEXT_START:
            gdc_launch_dependents()
        gdc_wait()
        if not LETS_NEXT_START:
            gdc_launch_dependents()


@triton.jit
def _load_weights(weight, rows, columns, is_row, is_column, IN: tl.constexpr):
    addresses = weight + rows[:, None] * IN + columns[None]
    return tl.load(addresses, mask=is_row[:, None] & is_column[None], other=0, eviction_policy="evict_first")


@triton.jit
def _load_row(
    x,
    maxima,
    sums,
    row,
    inputs,
    is_input,
    ROWS: tl.constexpr,
    IN: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """Load some inputs of a row in float32, and join the parts of an attention."""
    if SPLITS == 0:
        part = tl.load(x + row * IN + inputs, mask=is_input, other=0).to(tl.float32)
    else:
        heads: tl.constexpr = IN // HEAD_DIM
        part = tl.zeros(inputs.shape, tl.float32)
        for head in tl.static_range(heads):
            pair = row * heads + head
            highest = tl.load(maxima + pair)
            for split in tl.static_range(1, SPLITS):
                highest = tl.maximum(highest, tl.load(maxima + split * (ROWS * heads) + pair))
            total = 0.0
            joined = tl.zeros(inputs.shape, tl.float32)
            is_head = is_input & (inputs // HEAD_DIM == head)
            for split in tl.static_range(SPLITS):
                share = tl.exp(tl.load(maxima + split * (ROWS * heads) + pair) - highest)
                total += share * tl.load(sums + split * (ROWS * heads) + pair)
                joined += share * tl.load(x + (split * ROWS + row) * IN + inputs, mask=is_head, other=0)
            part += joined / total
    return part


@triton.jit
def _store_new_keys(
    cache,
    slot,
    y,
    row,
    outputs,
    is_output,
    ROWS: tl.constexpr,
    STATE: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """Write the keys and values of a projection, whose outputs are queries, keys and values, to their slot."""
    place = outputs - STATE
    head = (place // STATE * ROWS + row) * (STATE // HEAD_DIM) + place % STATE // HEAD_DIM
    address = cache + (head * SLOTS + tl.load(slot)) * HEAD_DIM + place % HEAD_DIM
    tl.store(address, y.to(cache.dtype.element_ty), mask=is_output & (place >= 0))


@triton.jit
def _load_keys(keys, values, index, dims, is_dim, end, last, HEAD_DIM: tl.constexpr):
    """Load keys and values from the cache; the slot of this position may be in the making and is not used."""
    is_loaded = ((index < end) & (index <= last))[:, None] & is_dim[None]
    places = index[:, None] * HEAD_DIM + dims[None]
    return tl.load(keys + places, mask=is_loaded, other=0), tl.load(values + places, mask=is_loaded, other=0)


@triton.jit
def _add_keys(highest, total, result, query, k, v, new_k, new_v, index, end, last, HAS_NEW: tl.constexpr):
    """Add keys to the running maximum, sum and result of a softmax."""
    if HAS_NEW:
        is_new = (index == last)[:, None]
        k, v = tl.where(is_new, new_k[None], k), tl.where(is_new, new_v[None], v)
    is_seen = (index < end) & (index <= last)
    scores = tl.where(is_seen, tl.sum(k.to(tl.float32) * query[None], 1), -float("inf"))
    higher = tl.maximum(highest, tl.max(scores, 0))
    reference = tl.where(higher == -float("inf"), 0.0, higher)  # none of the keys is seen
    shrink, weights = tl.exp(highest - reference), tl.exp(scores - reference)
    total = total * shrink + tl.sum(weights, 0)
    result = result * shrink + tl.sum(weights[:, None] * v.to(tl.float32), 0)
    return higher, total, result


@triton.jit
def _add_pairs(a, b, c, d):
    return a + c, b + d
