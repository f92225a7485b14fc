"""The Triton kernel of a decode step of several songs: all blocks of an upsampler in one launch.

With several rows a step is products of matrices, and kernels that follow each other lose time at every end and start.
Here one program per multiprocessor runs through all blocks. A block has five phases: the norm and the projection, which
writes keys and values to the cache; attention, split over the keys (flash decoding, Dao et al. 2023); its output
layer, which joins the parts; and the two layers of the MLP. In each phase a program computes up to `OUTPUTS` outputs of
every row. Then it lets its next weights come, and waits until all programs have written theirs.

The warps of a program share the inputs of a product among them, and tensor cores multiply; the sums of the warps are
added in one order. A row has the same sums however many rows there are.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,type-arg"

import triton
import triton.language as tl

from .fast_paths import GELU_SLOPE

NUM_PHASES = 5
WARPS = 8
OUTPUTS = 16  # of a layer, per program
INPUTS = 2048  # of a layer at most
MAX_STATE = 512  # width of the attention at most, which has one head
SPLITS = 4  # parts of the keys of a row
MAX_KEYS = 128

# Columns of the table of a transformer. Each row has the addresses of a block: weights and biases of the four layers,
# weight and bias of the two norms, the cache `[2, ROWS, slots, STATE]`; then its slots, the keys that a position sees
# at most, and the row of `ranges` that says which they are.
NUM_FIELDS = 16
_BIASES, _NORMS, _CACHE, _SLOTS, _KEYS, _RANGE = map(tl.constexpr, (4, 8, 12, 13, 14, 15))

_GELU_SLOPE = tl.constexpr(GELU_SLOPE)
_NUM_FIELDS, _NUM_PHASES, _WARPS, _OUTPUTS = map(tl.constexpr, (NUM_FIELDS, NUM_PHASES, WARPS, OUTPUTS))
_INPUTS, _MAX_STATE, _SPLITS = map(tl.constexpr, (INPUTS, MAX_STATE, SPLITS))
_PART_KEYS = tl.constexpr(MAX_KEYS // SPLITS)
_MIN_COLUMNS = tl.constexpr(8)  # that tensor cores multiply


@triton.jit
def blocks_step(
    stream,  # [ROWS, WIDTH], input of the first block and output of the last
    qkv,  # [ROWS, 3 * STATE] scratch
    attended,  # [SPLITS, ROWS, STATE] scratch
    logsums,  # [SPLITS, ROWS] scratch, float32: logarithms of the softmax sums of the parts
    hidden,  # [ROWS, WIDTH] scratch
    inner,  # [ROWS, MLP_WIDTH] scratch
    table,  # [blocks, NUM_FIELDS] int64
    ranges,  # [kinds, 3] int64: slot of this position, slot of the first key, index of the last key that it sees
    done,  # [blocks, NUM_PHASES] int32, zeros: programs that are done with a phase
    first_block,
    end_block,
    eps,
    res_scale,
    ROWS: tl.constexpr,
    PADDED_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    STATE: tl.constexpr,
    MLP_WIDTH: tl.constexpr,
    PROGRAMS: tl.constexpr,
    IS_SCALED: tl.constexpr,  # the residual
    PHASE: tl.constexpr,  # the only one to run, without waiting; -1 for all of them
):
    """Run one position through the blocks."""
    kept = stream if IS_SCALED else None
    for block in tl.range(first_block, end_block, num_stages=1):
        row = table + block * _NUM_FIELDS
        count = done + block * _NUM_PHASES
        has_before = block > first_block
        cache = _address(row + _CACHE, stream.dtype.element_ty)
        slots = tl.load(row + _SLOTS)
        keys = ranges + tl.load(row + _RANGE) * 3
        if PHASE < 0 or PHASE == 0:
            y, place, is_place, outputs, rows = _linear(
                row, 0, stream, logsums, count - 1, has_before, eps,
                ROWS, PADDED_ROWS, WIDTH, 3 * STATE, 1, _INPUTS, True, PROGRAMS, PHASE,
            )  # fmt: skip
            _store(qkv, y, place, is_place)
            _store_new_keys(cache, y, rows, outputs, is_place, tl.load(keys), slots, ROWS, STATE)
            _finish(count, PHASE)
        if PHASE < 0 or PHASE == 1:
            first, last = tl.load(keys + 1).to(tl.int32), tl.load(keys + 2).to(tl.int32)
            num_keys = tl.load(row + _KEYS).to(tl.int32)
            _attention(
                qkv, cache, first, last, slots.to(tl.int32), num_keys, attended, logsums, count,
                ROWS, STATE, PROGRAMS, PHASE,
            )  # fmt: skip
            _finish(count + 1, PHASE)
        if PHASE < 0 or PHASE == 2:
            y, place, is_place, outputs, rows = _linear(
                row, 1, attended, logsums, count + 1, True, eps,
                ROWS, PADDED_ROWS, STATE, WIDTH, _SPLITS, _MAX_STATE, False, PROGRAMS, PHASE,
            )  # fmt: skip
            _store(hidden, y, place, is_place, residual=stream)
            _finish(count + 2, PHASE)
        if PHASE < 0 or PHASE == 3:
            y, place, is_place, outputs, rows = _linear(
                row, 2, hidden, logsums, count + 2, True, eps,
                ROWS, PADDED_ROWS, WIDTH, MLP_WIDTH, 1, _INPUTS, True, PROGRAMS, PHASE,
            )  # fmt: skip
            _store(inner, y * tl.sigmoid(y * _GELU_SLOPE), place, is_place)
            _finish(count + 3, PHASE)
        if PHASE < 0 or PHASE == 4:
            y, place, is_place, outputs, rows = _linear(
                row, 3, inner, logsums, count + 3, True, eps,
                ROWS, PADDED_ROWS, MLP_WIDTH, WIDTH, 1, _INPUTS, False, PROGRAMS, PHASE,
            )  # fmt: skip
            _store(stream, y, place, is_place, residual=hidden, start=kept, res_scale=res_scale)
            _finish(count + 4, PHASE)


@triton.jit
def _linear(
    row,
    NUMBER: tl.constexpr,
    x,
    logsums,
    count,
    has_before,
    eps,
    ROWS: tl.constexpr,
    PADDED_ROWS: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    HAS_NORM: tl.constexpr,
    PROGRAMS: tl.constexpr,
    PHASE: tl.constexpr,
):
    """Apply the norm, or join the parts of an attention, and apply a linear layer: `[OUTPUTS, PADDED_ROWS]` in float32.

    Also return where the results belong in `[ROWS, OUT]`, and what they are: outputs and rows.
    """
    SHARE: tl.constexpr = (OUT + PROGRAMS - 1) // PROGRAMS
    SLICE: tl.constexpr = BLOCK_IN // _WARPS
    N: tl.constexpr = PARTS * PADDED_ROWS
    COPIES: tl.constexpr = _MIN_COLUMNS // N if N < _MIN_COLUMNS else 1
    half: tl.constexpr = x.dtype.element_ty
    local, inputs, rows = tl.arange(0, _OUTPUTS), tl.arange(0, BLOCK_IN), tl.arange(0, PADDED_ROWS)
    outputs = tl.program_id(0) * SHARE + local
    is_output = (local < SHARE) & (outputs < OUT)
    sliced = tl.arange(0, _WARPS)[:, None] * SLICE + tl.arange(0, SLICE)[None]
    weights = _address(row + NUMBER, half) + (outputs * IN)[None, :, None] + sliced[:, None, :]
    is_weight = is_output[None, :, None] & (sliced < IN)[:, None, :]
    w = tl.load(weights, mask=is_weight, other=0, eviction_policy="evict_first")  # [WARPS, OUTPUTS, SLICE]
    bias = tl.load(_address(row + _BIASES + NUMBER, tl.float32) + outputs, mask=is_output, other=0)
    if HAS_NORM:
        norm = row + _NORMS + NUMBER  # of the first layer, and of the third
        gamma = tl.load(_address(norm, tl.float32) + inputs[None], mask=(inputs < IN)[None], other=0)
        beta = tl.load(_address(norm + 1, tl.float32) + inputs[None], mask=(inputs < IN)[None], other=0)
    if has_before:
        _wait(count, PROGRAMS, PHASE)
    n = tl.arange(0, N)
    # What other programs have written must not come from the first cache, which may hold what was there before.
    places = x + (n // PADDED_ROWS * ROWS + n % PADDED_ROWS)[:, None] * IN + inputs[None]
    is_part = (n % PADDED_ROWS < ROWS)[:, None] & (inputs < IN)[None]
    part = tl.load(places, mask=is_part, other=0, cache_modifier=".cg")
    if HAS_NORM:
        part = part.to(tl.float32)
        total, squares = tl.reduce((part, part * part), 1, _add_pairs)
        mean = total / IN
        scale = tl.rsqrt(tl.maximum(squares / IN - mean * mean, 0.0) + eps)
        part = ((part - mean[:, None]) * scale[:, None] * gamma + beta).to(half)
    y = _first_copy(tl.sum(tl.dot(w, _columns(part, N, COPIES, BLOCK_IN)), 0), _OUTPUTS, N, COPIES)
    if PARTS > 1:
        place = tl.arange(0, PARTS)[:, None] * ROWS + rows[None]
        sums = tl.load(logsums + place, mask=(rows < ROWS)[None], other=0, cache_modifier=".cg")
        shares = tl.exp(sums - tl.max(sums, 0)[None])
        shares = shares / tl.sum(shares, 0)[None]
        y = tl.sum(tl.reshape(y, [_OUTPUTS, PARTS, PADDED_ROWS]) * shares[None], 1)
    place = rows[None] * OUT + outputs[:, None]
    return y + bias[:, None], place, is_output[:, None] & (rows < ROWS)[None], outputs, rows


@triton.jit
def _attention(
    qkv,
    cache,
    first,
    last,
    slots,
    num_keys,
    out,
    logsums,
    count,
    ROWS: tl.constexpr,
    STATE: tl.constexpr,
    PROGRAMS: tl.constexpr,
    PHASE: tl.constexpr,
):
    """Attend from the query of one row to one part of its keys; there are fewer parts of all rows than programs."""
    SLICE: tl.constexpr = _MAX_STATE // _WARPS
    half: tl.constexpr = out.dtype.element_ty
    row, split = tl.program_id(0) // _SPLITS, tl.program_id(0) % _SPLITS
    length = (num_keys + _SPLITS - 1) // _SPLITS
    index = split * length + tl.arange(0, _PART_KEYS)
    end = tl.minimum((split + 1) * length, num_keys)
    # The slot of the last key may be in the making: it is this position's own, and comes from `qkv`. The row
    # is a vector here: Triton's interpreter makes numbers of a mask joined with a scalar one, and refuses those.
    is_loaded = (index < end) & (index < last) & (row + tl.zeros_like(index) < ROWS)
    dims = tl.arange(0, _MAX_STATE)
    is_dim = dims < STATE
    sliced = tl.arange(0, _WARPS)[:, None] * SLICE + tl.arange(0, SLICE)[None]
    places = (row * slots + first + index) * STATE
    keys = cache + places[None, :, None] + sliced[:, None, :]
    k = tl.load(keys, mask=is_loaded[None, :, None] & (sliced < STATE)[:, None, :], other=0)  # [WARPS, keys, SLICE]
    values = cache + (ROWS * STATE) * slots.to(tl.int64) + places[:, None] + dims[None]
    v = tl.load(values, mask=is_loaded[:, None] & is_dim[None], other=0)
    _wait(count, PROGRAMS, PHASE)
    if row < ROWS:
        own = qkv + row * (3 * STATE) + dims
        query = tl.load(own[None], mask=is_dim[None], other=0, cache_modifier=".cg")
        new_k = tl.load((own + STATE)[None], mask=is_dim[None], other=0, cache_modifier=".cg")
        new_v = tl.load(own + 2 * STATE, mask=is_dim, other=0, cache_modifier=".cg")
        new_score = tl.sum(tl.sum(query.to(tl.float32) * new_k.to(tl.float32), 1), 0)
        products = tl.sum(tl.dot(k, _columns(query, 1, _MIN_COLUMNS, _MAX_STATE)), 0)
        scores = tl.reshape(_first_copy(products, _PART_KEYS, 1, _MIN_COLUMNS), [_PART_KEYS])
        is_new = index == last
        scores = tl.where(is_new, new_score, scores) * (STATE**-0.5)
        scores = tl.where((index < end) & (index <= last), scores, -float("inf"))
        highest = tl.max(scores, 0)
        reference = tl.where(highest == -float("inf"), 0.0, highest)  # none of the keys is seen
        weights = tl.exp(scores - reference)
        new_weight, total = tl.sum(tl.where(is_new, weights, 0.0), 0), tl.sum(weights, 0)
        copies = tl.broadcast_to(weights.to(half)[:, None], [_PART_KEYS, _MIN_COLUMNS])
        sums = _first_copy(tl.dot(tl.trans(v), copies), _MAX_STATE, 1, _MIN_COLUMNS)
        result = tl.reshape(sums, [_MAX_STATE]) + new_weight * new_v.to(tl.float32)
        part = split * ROWS + row
        tl.store(logsums + part, tl.where(total > 0, reference + tl.log(total), -float("inf")))
        tl.store(out + part * STATE + dims, tl.where(total > 0, result / total, 0.0).to(half), mask=is_dim)


@triton.jit
def _store(out, y, place, is_place, residual=None, start=None, res_scale=1.0):
    """Write results, with a residual added, and scaled if there is the input of the block."""
    if residual is not None:
        y += tl.load(residual + place, mask=is_place, other=0, cache_modifier=".cg").to(tl.float32)
    if start is not None:
        before = tl.load(start + place, mask=is_place, other=0, cache_modifier=".cg").to(tl.float32)
        y = before + (y - before) * res_scale
    tl.store(out + place, y.to(out.dtype.element_ty), mask=is_place)


@triton.jit
def _store_new_keys(cache, y, rows, outputs, is_place, slot, slots, ROWS: tl.constexpr, STATE: tl.constexpr):
    """Write the keys and values of a projection, whose outputs are queries, keys and values, to their slot."""
    at = outputs - STATE
    place = ((at // STATE * ROWS)[:, None] + rows[None]) * slots + slot
    address = cache + place * STATE + (at % STATE)[:, None]
    tl.store(address, y.to(cache.dtype.element_ty), mask=is_place & (at >= 0)[:, None])


@triton.jit
def _columns(part, N: tl.constexpr, COPIES: tl.constexpr, BLOCK_IN: tl.constexpr):
    """Turn rows `[N, BLOCK_IN]` into columns `[WARPS, BLOCK_IN / WARPS, N * COPIES]`."""
    if COPIES > 1:
        part = tl.reshape(tl.broadcast_to(part[:, None, :], [N, COPIES, BLOCK_IN]), [N * COPIES, BLOCK_IN])
    return tl.permute(tl.reshape(part, [N * COPIES, _WARPS, BLOCK_IN // _WARPS]), (1, 2, 0))


@triton.jit
def _first_copy(y, OUT: tl.constexpr, N: tl.constexpr, COPIES: tl.constexpr):
    """Return `[OUT, N]` of `[OUT, N * COPIES]`."""
    if COPIES > 1:
        is_first = (tl.arange(0, COPIES) == 0)[None, None]
        y = tl.sum(tl.where(is_first, tl.reshape(y, [OUT, N, COPIES]), 0.0), 2)
    return y


@triton.jit
def _address(field, TYPE: tl.constexpr):
    return tl.multiple_of(tl.load(field).to(tl.pointer_type(TYPE)), 16)


@triton.jit
def _add_pairs(a, b, c, d):
    return a + c, b + d


@triton.jit
def _finish(count, PHASE: tl.constexpr):
    """Count this program as done with a phase, after all that its threads have written."""
    if PHASE < 0:
        tl.debug_barrier()
        tl.inline_asm_elementwise(
            """{
            .reg .pred is_first;
            .reg .u32 thread;
            mov.u32 thread, %tid.x;
            setp.eq.u32 is_first, thread, 0;
            @is_first red.release.gpu.global.add.u32 [$1], 1;
            mov.u32 $0, 0;
            }""",
            "=r,l",
            [count.to(tl.int64)],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )


@triton.jit
def _wait(count, PROGRAMS: tl.constexpr, PHASE: tl.constexpr):
    """Wait until all programs are done with a phase. One thread asks: all of them would be in each other's way."""
    if PHASE < 0:
        tl.inline_asm_elementwise(
            """{
            .reg .pred is_busy;
            .reg .u32 value;
            mov.u32 value, %tid.x;
            setp.ne.u32 is_busy, value, 0;
            @is_busy bra DONE;
            ASK:
            ld.acquire.gpu.global.u32 value, [$1];
            setp.lt.u32 is_busy, value, $2;
            @is_busy bra ASK;
            DONE:
            mov.u32 $0, 0;
            }""",
            "=r,l,r",
            [count.to(tl.int64), tl.full([], PROGRAMS, tl.int32)],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
        tl.debug_barrier()
