// One step of all blocks of a transformer, on a CPU: compiled and called by fused_cpu.py.

#include "step_products.h"

namespace {

// These are filled by fused_cpu.py: every field has eight bytes.
struct Linear {
    const void* weight;  // [outputs, inputs]
    const float* scale;  // [outputs], of int8 weights; otherwise 1
    const float* bias;   // [outputs]
    const float* down;   // [rank, inputs], of adapters
    const float* up;     // [rank, outputs], divided by scale
    int64_t inputs, outputs, rank;
};

struct Norm {
    const float *weight, *bias;
};

struct Block {
    Linear projection, output, inner, outer;
    Norm before_attention, before_mlp;
    int64_t kind;   // of the attention: an index of Keys
    int64_t slots;  // of the cache
};

struct Keys {
    int64_t slot;  // of the position's own key, -1 if it has none
    int64_t first, count;
};

// The rows of a step: one of each song, all at the same position, or successive positions of one song.
struct Rows {
    int64_t count;
    int64_t positions;  // 1, or as many as there may be rows

    bool are_songs() const { return positions == 1; }
    int64_t songs() const { return are_songs() ? count : 1; }
    int64_t song(int64_t row) const { return are_songs() ? row : 0; }
    int64_t position(int64_t row) const { return are_songs() ? 0 : row; }
};

// Products of a query and K keys.
template <class C, int K>
inline void score(const float* q, const C* keys, int64_t head_dim, float* scores) {
    Vector totals[K] = {};
    int64_t i = 0;
    for (; i + LANES <= head_dim; i += LANES)
        for (int k = 0; k < K; k++) totals[k] = multiply_add(load(q + i), load(keys + k * head_dim + i), totals[k]);
    float sums[std::max(K, LANES)];
    write_sums<K>(totals, sums);
    for (int k = 0; k < K; k++) {
        scores[k] = sums[k];
        for (int64_t j = i; j < head_dim; j++) scores[k] += q[j] * float(keys[k * head_dim + j]);
    }
}

template <class C>
inline void score(const float* q, const C* keys, int64_t count, int64_t head_dim, float* scores) {
    int64_t key = 0;
    for (; key + 4 <= count; key += 4) score<C, 4>(q, keys + key * head_dim, head_dim, scores + key);
    for (; key < count; key++) score<C, 1>(q, keys + key * head_dim, head_dim, scores + key);
}

// Adds x @ down.T @ up to this thread's outputs. Every thread computes x @ down.T, which is small, for itself.
template <class A>
void add_adapters(const Linear& layer, const Range& part, const A* x, int64_t rows, float* y) {
    const int64_t n = layer.inputs, outputs = layer.outputs;
    static thread_local std::vector<float> scratch;
    scratch.resize(rows);
    float* low = scratch.data();
    for (int64_t k = 0; k < layer.rank; k++) {
        const float* up = layer.up + k * outputs;
        score(layer.down + k * n, x, rows, n, low);
        for (int64_t row = 0; row < rows; row++)
#pragma omp simd
            for (int64_t o = part.begin; o < part.end; o++) y[row * outputs + o] += low[row] * up[o];
    }
}

// Calls each(index in [rows, outputs], value) for this thread's outputs of x @ weight.T * scale + bias.
template <class W, class Each>
void linear(const Thread& thread, const Linear& layer, const typename Products<W>::Row* x, int64_t rows, float* sums,
            Each each) {
    const float *scale = layer.scale, *bias = layer.bias;
    const int64_t outputs = layer.outputs;
    const Range part = multiply(thread, static_cast<const W*>(layer.weight), layer.inputs, outputs, x, rows, sums);
    if (layer.rank) add_adapters(layer, part, x, rows, sums);
    for (int64_t row = 0; row < rows; row++)
#pragma omp simd
        for (int64_t o = part.begin; o < part.end; o++)
            each(row * outputs + o, sums[row * outputs + o] * scale[o] + bias[o]);
}

template <class A>
void normalize(const Thread& thread, const Norm& norm, const float* x, int64_t rows, int64_t width, float eps, A* y) {
    const Range part = thread.part_of(rows);
    for (int64_t row = part.begin; row < part.end; row++) {
        const float* from = x + row * width;
        A* to = y + row * width;
        float total = 0, squares = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < width; i++) total += from[i];
        const float mean = total / float(width);
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++) squares += (from[i] - mean) * (from[i] - mean);
        const float factor = 1 / std::sqrt(squares / float(width) + eps);
#pragma omp simd
        for (int64_t i = 0; i < width; i++) to[i] = A((from[i] - mean) * factor * norm.weight[i] + norm.bias[i]);
    }
}

// V registers of the mean of the values.
template <class C, int V, class A>
inline void mix(const float* weights, const C* values, int64_t count, int64_t head_dim, float factor, A* y) {
    Vector totals[V] = {};
    for (int64_t key = 0; key < count; key++)
        for (int v = 0; v < V; v++)
            totals[v] = multiply_add(Vector{} + weights[key], load(values + key * head_dim + v * LANES), totals[v]);
    for (int v = 0; v < V; v++) store(totals[v] * factor, y + v * LANES);
}

// The keys and values of a row and head in a cache [2, songs, heads, slots, head_dim].
template <class C>
struct Cached {
    C *keys, *values;

    Cached(C* cache, const Block& block, const Rows& rows, int64_t row, int64_t heads, int64_t head, int64_t head_dim)
        : keys(cache + (rows.song(row) * heads + head) * block.slots * head_dim),
          values(keys + rows.songs() * heads * block.slots * head_dim) {}
};

// Writes the new keys and values of this thread's rows and heads to the cache.
template <class C>
void append(const Thread& thread, const Block& block, const Keys* seen, const float* projected, C* cache,
            const Rows& rows, int64_t heads, int64_t head_dim) {
    const int64_t state = heads * head_dim;
    const Range part = thread.part_of(rows.count * heads);
    for (int64_t item = part.begin; item < part.end; item++) {
        const int64_t row = item / heads, head = item % heads, slot = seen[rows.position(row)].slot;
        if (slot < 0) continue;
        const float* q = projected + row * block.projection.outputs + head * head_dim;
        const Cached<C> own(cache, block, rows, row, heads, head, head_dim);
        for (int64_t i = 0; i < head_dim; i++) {
            own.keys[slot * head_dim + i] = C(q[state + i]);
            own.values[slot * head_dim + i] = C(q[2 * state + i]);
        }
    }
}

// Attends, for the same rows and heads.
template <class C, class A>
void attend(const Thread& thread, const Block& block, const Keys* seen, const float* projected, C* cache,
            const Rows& rows, int64_t heads, int64_t head_dim, A* y) {
    const int64_t state = heads * head_dim;
    const float scale = 1 / std::sqrt(float(head_dim));
    static thread_local std::vector<float> scratch;
    const Range part = thread.part_of(rows.count * heads);
    for (int64_t item = part.begin; item < part.end; item++) {
        const int64_t row = item / heads, head = item % heads;
        const int64_t first = seen[rows.position(row)].first, count = seen[rows.position(row)].count;
        scratch.resize(count);
        float* scores = scratch.data();
        const float* q = projected + row * block.projection.outputs + head * head_dim;
        const Cached<C> own(cache, block, rows, row, heads, head, head_dim);
        const C *keys = own.keys + first * head_dim, *values = own.values + first * head_dim;
        score(q, keys, count, head_dim, scores);
        const float largest = *std::max_element(scores, scores + count);
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t i = 0; i < count; i++) {
            scores[i] = exponential((scores[i] - largest) * scale);
            total += scores[i];
        }
        A* to = y + row * state + head * head_dim;
        int64_t i = 0;
        const float factor = 1 / total;
        for (; i + 4 * LANES <= head_dim; i += 4 * LANES)
            mix<C, 4>(scores, values + i, count, head_dim, factor, to + i);
        for (; i + LANES <= head_dim; i += LANES) mix<C, 1>(scores, values + i, count, head_dim, factor, to + i);
        for (; i < head_dim; i++) {
            float mean = 0;
            for (int64_t k = 0; k < count; k++) mean += scores[k] * float(values[k * head_dim + i]);
            to[i] = A(mean * factor);
        }
    }
}

template <class W, class C>
void step(const Block* blocks, int64_t num_blocks, const Keys* keys, void* const* caches, float* x, void* workspace,
          int64_t rows, int64_t positions, int64_t width, int64_t inner_width, int64_t heads, int64_t head_dim,
          float eps, float res_scale, int num_threads) {
    using A = typename Products<W>::Row;
    const int64_t state = heads * head_dim;
    const Rows layout = {rows, positions};
    float* hidden = static_cast<float*>(workspace);
    float* projected = hidden + rows * width;
    float* sums = projected + rows * 3 * state;
    A* shared = reinterpret_cast<A*>(sums + rows * std::max({3 * state, width, inner_width}));  // normalized rows
    A* attended = shared + rows * width;
    A* inner = attended + rows * state;
    int joined = 0;
#pragma omp parallel num_threads(num_threads)
    {
        const Thread thread = Thread::own(joined);
        // Few rows are normalized by every thread for itself, which takes less than to wait for each other.
        const bool is_alone = rows < thread.count;
        std::vector<A> own(is_alone ? rows * width : 0);
        A* const normed = is_alone ? own.data() : shared;
        const Thread normalizing = is_alone ? Thread{0, 1} : thread;
        for (int64_t n = 0; n < num_blocks; n++) {
            const Block& block = blocks[n];
            normalize(normalizing, block.before_attention, x, rows, width, eps, normed);
            if (!is_alone) {
#pragma omp barrier
            }
            linear<W>(thread, block.projection, normed, rows, sums, [=](int64_t i, float y) { projected[i] = y; });
#pragma omp barrier
            const Keys* seen = keys + block.kind * positions;
            C* cache = static_cast<C*>(caches[n]);
            append(thread, block, seen, projected, cache, layout, heads, head_dim);
            if (!layout.are_songs()) {  // positions see each other's keys
#pragma omp barrier
            }
            attend(thread, block, seen, projected, cache, layout, heads, head_dim, attended);
#pragma omp barrier
            linear<W>(thread, block.output, attended, rows, sums, [=](int64_t i, float y) { hidden[i] = x[i] + y; });
#pragma omp barrier
            normalize(normalizing, block.before_mlp, hidden, rows, width, eps, normed);
            if (!is_alone) {
#pragma omp barrier
            }
            linear<W>(thread, block.inner, normed, rows, sums,
                      [=](int64_t i, float y) { inner[i] = A(y / (1 + exponential(-1.702f * y))); });
#pragma omp barrier
            linear<W>(thread, block.outer, inner, rows, sums, [=](int64_t i, float y) {
                x[i] = res_scale == 1 ? hidden[i] + y : x[i] + (hidden[i] - x[i] + y) * res_scale;
            });
#pragma omp barrier
        }
    }
}

}  // namespace

#define STEP(W, C)                                                                                                   \
    extern "C" void step_##W##_##C(const Block* blocks, int64_t num_blocks, const Keys* keys, void* const* caches,   \
                                   float* x, void* workspace, int64_t rows, int64_t positions, int64_t width,        \
                                   int64_t inner_width, int64_t heads, int64_t head_dim, float eps, float res_scale, \
                                   int num_threads) {                                                                \
        step<W, C>(blocks, num_blocks, keys, caches, x, workspace, rows, positions, width, inner_width, heads,       \
                   head_dim, eps, res_scale, num_threads);                                                           \
    }

STEP(float32, float32)
STEP(bfloat16, bfloat16)
STEP(int8, float32)
STEP(int8, bfloat16)

extern "C" void multiply_float32(const float* weight, const float* x, float* y, int64_t rows, int64_t inputs,
                                 int64_t outputs, int num_threads) {
    int joined = 0;
#pragma omp parallel num_threads(num_threads)
    multiply(Thread::own(joined), weight, inputs, outputs, x, rows, y);
}
