// Vectors of numbers, and how they are read, written, multiplied and added: the first part of step_kernels.cpp.
//
// They are those of GCC and Clang, which compile them for any processor.

#if !defined(__clang__)
#pragma GCC optimize("tree-loop-vectorize")  // which PyTorch turns off
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

// Numbers in a register, and rows and outputs whose sums fit into the registers together.
#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 4, TILE_OUTPUTS = 4;
#elif defined(__AVX2__)
constexpr int LANES = 8, TILE_ROWS = 2, TILE_OUTPUTS = 4;
#else
constexpr int LANES = 4, TILE_ROWS = 4, TILE_OUTPUTS = 4;
#endif

using Vector = float __attribute__((vector_size(LANES * 4)));
using Words = uint32_t __attribute__((vector_size(LANES * 4)));
using Integers = int32_t __attribute__((vector_size(LANES * 4)));
using Halves = uint16_t __attribute__((vector_size(LANES * 2)));
using Bytes = int8_t __attribute__((vector_size(LANES)));

template <class To, class From>
inline To bits_of(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class To>
inline To read(const void* from) {
    To to;
    std::memcpy(&to, from, sizeof to);
    return to;
}

using float32 = float;
using int8 = int8_t;

struct bfloat16 {
    uint16_t bits;

    bfloat16() = default;
    explicit bfloat16(float x) {  // to the nearest, ties to even
        const auto all = bits_of<uint32_t>(x);
        bits = uint16_t((all + 0x7fff + ((all >> 16) & 1)) >> 16);
    }
    operator float() const { return bits_of<float>(uint32_t(bits) << 16); }
};

inline void store(const Vector& x, float* to) { std::memcpy(to, &x, sizeof x); }
inline void store(const Vector& x, bfloat16* to) {
    const auto all = bits_of<Words>(x);
    const auto halves = __builtin_convertvector((all + 0x7fff + ((all >> 16) & 1)) >> 16, Halves);
    std::memcpy(to, &halves, sizeof halves);
}

inline Vector load(const float* from) { return read<Vector>(from); }

// GCC widens in pieces where the processor has an instruction for a whole vector.
inline Vector load(const bfloat16* from) {
#if defined(__AVX512F__)
    return bits_of<Vector>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(read<__m256i>(from)), 16));
#elif defined(__AVX2__)
    return bits_of<Vector>(_mm256_slli_epi32(_mm256_cvtepu16_epi32(read<__m128i>(from)), 16));
#else
    return bits_of<Vector>(__builtin_convertvector(read<Halves>(from), Words) << 16);
#endif
}
inline Vector load(const int8_t* from) {
#if defined(__AVX512F__)
    return bits_of<Vector>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(read<__m128i>(from))));
#elif defined(__AVX2__)
    return bits_of<Vector>(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)from))));
#else
    return __builtin_convertvector(__builtin_convertvector(read<Bytes>(from), Integers), Vector);
#endif
}

// Keeps what is used several times in a register: GCC would read it from memory each time.
template <class V>
inline V in_register(V x) {
#if defined(__AVX2__)
    asm("" : "+v"(x));
#elif defined(__ARM_NEON)
    asm("" : "+w"(x));
#endif
    return x;
}

// x * w + total, rounded once: written out, since compilers fuse the same formula here and not there.
inline Vector multiply_add(const Vector& x, const Vector& w, const Vector& total) {
#if defined(__AVX512F__)
    return (Vector)_mm512_fmadd_ps((__m512)x, (__m512)w, (__m512)total);
#elif defined(__AVX2__)
    return (Vector)_mm256_fmadd_ps((__m256)x, (__m256)w, (__m256)total);
#elif defined(__ARM_NEON)
    return (Vector)vfmaq_f32((float32x4_t)total, (float32x4_t)x, (float32x4_t)w);
#else
    return x * w + total;
#endif
}

// Adds the two halves of every group of GROUP lanes of a and of b, into groups half as long, those of a first.
template <int GROUP, size_t... I>
inline Vector add_halves(const Vector& a, const Vector& b, std::index_sequence<I...>) {
    constexpr auto lane = [](size_t i) constexpr {
        const size_t in_source = i % (LANES / 2), half = GROUP / 2;
        return int(i / (LANES / 2) * LANES + in_source / half * GROUP + in_source % half);
    };
#if defined(__clang__)
    return __builtin_shufflevector(a, b, lane(I)...) + __builtin_shufflevector(a, b, (lane(I) + GROUP / 2)...);
#else
    return __builtin_shuffle(a, b, Integers{lane(I)...}) + __builtin_shuffle(a, b, Integers{(lane(I) + GROUP / 2)...});
#endif
}

// Writes the sums of N vectors to y, and maybe more after them. The order of additions does not depend on N.
template <int N, int GROUP = LANES>
inline void write_sums(const Vector* x, float* y) {
    if constexpr (GROUP == 1) {
        std::memcpy(y, x, N * sizeof(Vector));
    } else {
        Vector added[(N + 1) / 2];
        for (int i = 0; i < (N + 1) / 2; i++)
            added[i] = add_halves<GROUP>(x[2 * i], x[std::min(2 * i + 1, N - 1)], std::make_index_sequence<LANES>());
        write_sums<(N + 1) / 2, GROUP / 2>(added, y);
    }
}

template <class W>
inline void widen(const W* from, int64_t count, float* to) {
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        for (int j = 0; j < 4; j++) store(load(from + i + j * LANES), to + i + j * LANES);
    for (; i < count; i++) to[i] = float(from[i]);
}

// e^x to about one unit of the last place: 2^n times a polynomial of what remains (Cephes, expf).
inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23 leaves no bits for a fraction
    const float rest = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * rest + 8.3334519073e-3f;
    y = y * rest + 4.1665795894e-2f;
    y = y * rest + 1.6666665459e-1f;
    y = y * rest + 5.0000001201e-1f;
    y = y * rest * rest + rest + 1.0f;
    return y * bits_of<float>((int32_t(n) + 127) << 23);
}

// How weights of a type are multiplied with numbers of a row, STEP at a time.
template <class W>
struct Products {
    using Row = float;
    static constexpr int STEP = LANES;
    static constexpr bool WIDENS = !std::is_same<W, float>::value;
    static Vector row(const float* x) { return load(x); }
    static Vector weights(const W* w) { return load(w); }
    static void add(Vector& total, const Vector& x, const Vector& w) { total = multiply_add(x, w, total); }
};

#if defined(__AVX512BF16__)
template <>
struct Products<bfloat16> {
    using Row = bfloat16;
    static constexpr int STEP = 2 * LANES;
    static constexpr bool WIDENS = false;
    static __m512bh row(const bfloat16* x) { return read<__m512bh>(x); }
    static __m512bh weights(const bfloat16* w) { return read<__m512bh>(w); }
    static void add(Vector& total, const __m512bh& x, const __m512bh& w) {
        total = (Vector)_mm512_dpbf16_ps((__m512)total, x, w);
    }
};
#endif

}  // namespace
