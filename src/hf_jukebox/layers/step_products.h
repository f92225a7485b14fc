// Products of rows and weights, x @ weight.T: the second part of step_kernels.cpp.
//
// The weights are read once for all rows (songs), as they are stored. Each sum is computed by one thread, in an order
// that depends on neither the number of rows nor that of threads, so that a row has the same bits in any batch.

#include "step_vectors.h"

namespace {

constexpr int UNROLLED = 4;  // steps between two fetches

// Numbers of a row of weights that are multiplied with all rows of x before the next ones: as they are multiplied, those
// of a tile fill half of a first-level cache of 32 KiB.
template <class W>
constexpr int64_t PIECE = 4096 / sizeof(typename Products<W>::Row);

// Memory that is read next: fetched a few lines at a time, while what was fetched before is multiplied.
struct Ahead {
    const char *next, *end;
    int64_t lines;  // at a time

    template <class W>
    Ahead(const W* from, int64_t count, int64_t times)
        : next(reinterpret_cast<const char*>(from)),
          end(next + count * sizeof(W)),
          lines((end - next) / (64 * times) + 1) {}

    void fetch() {
        for (int64_t i = 0; i < lines; i++, next += 64) __builtin_prefetch(next, 0, 2);
    }
};

// What is multiplied: n numbers of each row of x and of w. A y of floats gets the sums. A y of vectors, whose lanes are
// sums of other numbers, is added to.
template <class W, class Y>
struct Operands {
    const typename Products<W>::Row* x;
    int64_t x_width;
    const W* w;
    int64_t w_width;
    int64_t n;
    Y* y;
    int64_t y_width;

    Operands from_row(int64_t row) const {
        return {x + row * x_width, x_width, w, w_width, n, y + row * y_width, y_width};
    }
    Operands from_output(int64_t output) const {
        return {x, x_width, w + output * w_width, w_width, n, y + output, y_width};
    }
};

// Multiplies R rows of x by O rows of w. It is part of its caller, since some compilers pass its operands slowly.
template <int R, int O, class W, class Y>
[[gnu::always_inline]] inline void tile(const Operands<W, Y>& at, Ahead& memory) {
    using P = Products<W>;
    constexpr bool IS_ADDED = std::is_same<Y, Vector>::value;
    const auto [x, x_width, w, w_width, n, y, y_width] = at;
    Ahead ahead = memory;
    if (ahead.next >= ahead.end) ahead.lines = 0;
    Vector totals[R * O];
    for (int r = 0; r < R; r++)
        for (int o = 0; o < O; o++)
            if constexpr (IS_ADDED)
                totals[r * O + o] = y[r * y_width + o];
            else
                totals[r * O + o] = Vector{};
    const auto add = [&](const auto* x, int64_t x_width, const W* w, int64_t w_width) __attribute__((always_inline)) {
        decltype(P::weights(w)) columns[O];
        for (int o = 0; o < O; o++) columns[o] = in_register(P::weights(w + o * w_width));
        for (int r = 0; r < R; r++) {
            const auto row = in_register(P::row(x + r * x_width));
            for (int o = 0; o < O; o++) P::add(totals[r * O + o], row, columns[o]);
        }
    };
    int64_t i = 0;
    for (; i + UNROLLED * P::STEP <= n; i += UNROLLED * P::STEP) {
        ahead.fetch();
        for (int step = 0; step < UNROLLED; step++)
            add(x + i + step * P::STEP, x_width, w + i + step * P::STEP, w_width);
    }
    for (; i + P::STEP <= n; i += P::STEP) add(x + i, x_width, w + i, w_width);
    if (i < n) {  // the rest, followed by zeros
        typename P::Row rows[R * P::STEP] = {};
        W weights[O * P::STEP] = {};
        for (int r = 0; r < R; r++) std::copy_n(x + r * x_width + i, n - i, rows + r * P::STEP);
        for (int o = 0; o < O; o++) std::copy_n(w + o * w_width + i, n - i, weights + o * P::STEP);
        add(rows, P::STEP, weights, P::STEP);
    }
    memory = ahead;
    float sums[std::max(R * O, LANES)];
    if constexpr (!IS_ADDED) write_sums<R * O>(totals, sums);
    for (int r = 0; r < R; r++)
        for (int o = 0; o < O; o++)
            if constexpr (IS_ADDED)
                y[r * y_width + o] = totals[r * O + o];
            else
                y[r * y_width + o] = sums[r * O + o];
}

template <int O, class W, class Y>
inline void multiply(const Operands<W, Y>& at, int64_t rows, Ahead& ahead) {
    int64_t row = 0;
    for (; row + TILE_ROWS <= rows; row += TILE_ROWS) tile<TILE_ROWS, O>(at.from_row(row), ahead);
    for (; row < rows; row++) tile<1, O>(at.from_row(row), ahead);
}

template <class W, class Y>
inline void multiply(const Operands<W, Y>& at, int64_t rows, int outputs, Ahead& ahead) {
    if constexpr (Products<W>::WIDENS)
        if (rows > TILE_ROWS) {  // once for all rows
            const auto [x, x_width, w, w_width, n, y, y_width] = at;
            float wide[TILE_OUTPUTS * PIECE<W>];
            for (int o = 0; o < outputs; o++) widen(w + o * w_width, n, wide + o * n);
            return multiply(Operands<float, Y>{x, x_width, wide, n, n, y, y_width}, rows, outputs, ahead);
        }
    if (outputs == TILE_OUTPUTS) return multiply<TILE_OUTPUTS>(at, rows, ahead);
    for (int o = 0; o < outputs; o++) multiply<1>(at.from_output(o), rows, ahead);
}

// The same, a piece of each row at a time.
template <class W>
void multiply_in_pieces(const Operands<W, float>& at, int64_t rows, int outputs, Ahead& ahead) {
    const auto [x, x_width, w, w_width, n, y, y_width] = at;
    static thread_local std::vector<Vector> totals;
    totals.assign(rows * TILE_OUTPUTS, Vector{});
    for (int64_t i = 0; i < n; i += PIECE<W>) {
        const int64_t count = std::min(PIECE<W>, n - i);
        const Operands<W, Vector> part = {x + i, x_width, w + i, w_width, count, totals.data(), TILE_OUTPUTS};
        multiply(part, rows, outputs, ahead);
    }
    for (int64_t row = 0; row < rows; row++) {
        float sums[LANES];
        write_sums<TILE_OUTPUTS>(totals.data() + row * TILE_OUTPUTS, sums);
        std::copy_n(sums, outputs, y + row * y_width);
    }
}

struct Range {
    int64_t begin, end;
};

struct Thread {
    int index, count;

    // Number of the calling thread among those of a parallel region, each of which calls this with the same counter,
    // at first 0. omp_get_thread_num would do, but in code of Clang that is linked with GCC's OpenMP as well, as
    // PyTorch does, it says 0 to all of them.
    static Thread own(int& joined) {
        int index;
#pragma omp atomic capture
        index = joined++;
#pragma omp barrier
        return {index, joined};
    }

    Range part_of(int64_t n) const { return {n * index / count, n * (index + 1) / count}; }
};

// Writes this thread's outputs of x @ weight.T to y, and returns which they are.
template <class W>
Range multiply(const Thread& thread, const W* weight, int64_t n, int64_t outputs, const typename Products<W>::Row* x,
               int64_t rows, float* y) {
    const int64_t fetches = std::max<int64_t>(1, rows / TILE_ROWS) * (n / (UNROLLED * Products<W>::STEP) + 1);
    const Range tiles = thread.part_of((outputs + TILE_OUTPUTS - 1) / TILE_OUTPUTS);
    const Range part = {tiles.begin * TILE_OUTPUTS, std::min(tiles.end * TILE_OUTPUTS, outputs)};
    for (int64_t o = part.begin; o < part.end; o += TILE_OUTPUTS) {
        const int count = int(std::min<int64_t>(TILE_OUTPUTS, part.end - o));
        const Operands<W, float> at = {x, n, weight + o * n, n, n, y + o, outputs};
        Ahead ahead(at.w + count * n, std::min<int64_t>(TILE_OUTPUTS, part.end - o - count) * n, fetches);
        if (rows > TILE_ROWS && n > PIECE<W>)
            multiply_in_pieces(at, rows, count, ahead);
        else
            multiply(at, rows, count, ahead);
    }
    return part;
}

}  // namespace
