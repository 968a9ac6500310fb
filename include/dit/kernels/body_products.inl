// What packs operands and what becomes of products, written once over words of T. See body.inl. A simd_*.hpp gives
// what body_micro.inl asks for, and for what has several numbers to a word
//     words_of<T>(x, ...)              sixteen words, as a Vec<float> that is only moved about

#include "dit/kernels/body_micro.inl"
#include "dit/kernels/body_multiply.inl"

/// Words are moved as numbers of their size.
template <class T>
DIT_INLINE real<T>* as_words(T* p) {
  return reinterpret_cast<real<T>*>(p);
}

/// The n numbers x + i, ..., no more than 16, and zeros.
template <class S>
DIT_INLINE auto load_some(const S* x, Index i, Index n) {
  return n - i > 0 ? load(x + i, n - i < 16 ? n - i : 16) : broadcast(real<S>(0));
}

/// Sixteen words: the next 16 * word_size<T> numbers of a row, or the n that are left of it. S is R or stored<T>.
template <class T, class S>
DIT_INLINE Vec<real<T>> words_of(const S* x, real<T> factor) {
  if constexpr (std::is_same_v<T, int8>) {
    const Vec<float> f = broadcast(factor);
    return narrow(load(x) * f, load(x + 16) * f, load(x + 32) * f, load(x + 48) * f);
  } else if constexpr (word_size<T> == 1) {
    return load(x);
  } else if constexpr (std::is_same_v<T, S>) {
    return load_words(x);
  } else {
    return join(load(x), load(x + 16));
  }
}
template <class T, class S>
DIT_INLINE Vec<real<T>> words_of(const S* x, real<T> factor, Index n) {
  if constexpr (std::is_same_v<T, int8>) {
    const Vec<float> f = broadcast(factor);
    return narrow(load_some(x, 0, n) * f, load_some(x, 16, n) * f, load_some(x, 32, n) * f,
                  load_some(x, 48, n) * f);
  } else if constexpr (word_size<T> == 1) {
    return load(x, n);
  } else if constexpr (std::is_same_v<T, S>) {
    real<T> some[16] = {};
    std::memcpy(static_cast<void*>(some), static_cast<const void*>(x), static_cast<std::size_t>(n) * sizeof(T));
    return load(some);
  } else {
    return join(load_some(x, 0, n), load_some(x, 16, n));
  }
}

/// With `lifted`, numbers of int8 come out `offset` larger.
template <class T, bool lifted, class S>
DIT_TARGET void pack_rows(const S* x, Index stride, Index rows, Index columns, const real<T>* inverse, T* to,
                          Index to_stride) {
  constexpr Index step = 16 * word_size<T>;
  constexpr bool scaled = std::is_same_v<T, int8>;
  Vec<real<T>> v[16];
  for (Index c = 0; c < columns; c += step) {
    const Index left = columns - c;
    if (left >= step && rows == 16) {
      DIT_UNROLL for (int r = 0; r < 16; ++r) {
        v[r] = words_of<T>(x + r * stride + c, scaled ? inverse[r] : real<T>(1));
      }
    } else {
      for (Index r = 0; r < rows; ++r) {
        const real<T> factor = scaled ? inverse[r] : real<T>(1);
        v[r] =
            left >= step ? words_of<T>(x + r * stride + c, factor) : words_of<T>(x + r * stride + c, factor, left);
      }
      for (Index r = rows; r < 16; ++r) v[r] = broadcast(real<T>(0));
    }
    if constexpr (lifted) {
      for (int r = 0; r < 16; ++r) v[r] = lift(v[r]);
    }
    transpose(v);
    T* const at = to + c * to_stride;
    if (left >= step) {
      DIT_UNROLL for (int j = 0; j < 16; ++j) store(as_words(at + j * to_stride * word_size<T>), v[j], rows);
    } else {
      for (Index j = 0; j < words<T>(left); ++j) store(as_words(at + j * to_stride * word_size<T>), v[j], rows);
    }
  }
}

template <class T>
DIT_TARGET void pack(const real<T>* x, Index stride, Index rows, Index columns, const real<T>* inverse, T* to,
                     Index to_stride) {
  pack_rows<T, false>(x, stride, rows, columns, inverse, to, to_stride);
}

template <class T, class S>
DIT_TARGET void pack_panel(const S* x, Index stride, Index rows, Index row, Index begin, Index columns,
                           const real<T>* inverse, Index height, T* panel) {
  pack_rows<T, offset<T> != 0>(x, stride, rows, columns, inverse, panel + begin * height + row * word_size<T>,
                               height);
}

template <class T>
DIT_TARGET void store_rounded(const real<T>* tile, Index rows, Index columns, stored<T>* y, Index stride) {
  for (Index r = 0; r < rows; ++r) {
    for (Index c = 0; c < columns; c += 16) {
      store(y + r * stride + c, load(tile + r * tile_width + c), columns - c < 16 ? columns - c : 16);
    }
  }
}

template <class T>
DIT_TARGET void widen(const stored<T>* x, Index n, real<T>* y) {
  Index i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, load(x + i));
  if (i < n) store(y + i, load(x + i, n - i), n - i);
}

template <class T, class S>
DIT_TARGET void find_highest(const S* x, Index stride, Index rows, Index columns, real<T>* highest) {
  for (Index r = 0; r < rows; ++r, x += stride) {
    Vec<float> top = broadcast(highest[r]);
    Index i = 0;
    for (; i + 16 <= columns; i += 16) top = larger(top, load(x + i));
    if (i < columns) top = larger(top, load(x + i, columns - i));
    float lanes[16];
    store(lanes, top);
    for (int half = 8; half > 0; half /= 2) {
      for (int j = 0; j < half; ++j) {
        lanes[j] = lanes[j + half] <= lanes[j] || lanes[j] != lanes[j] ? lanes[j] : lanes[j + half];
      }
    }
    highest[r] = lanes[0];
  }
}

template <class T>
DIT_TARGET void dequantise(std::int32_t* tile, Index rows, Index columns, const std::int32_t* correction,
                           const float* row_scale, const float* column_scale) {
  for (Index c = 0; c < columns; c += 16) {
    const Vec<float> scale = load(column_scale + c);
    const Vec<std::int32_t> k = offset<T> != 0 ? load(correction + c) : broadcast(std::int32_t(0));
    for (Index r = 0; r < rows; ++r) {
      std::int32_t* const at = tile + r * tile_width + c;
      store(reinterpret_cast<float*>(at), to_float(load(at) + k) * (scale * broadcast(row_scale[r])));
    }
  }
}

/// Two keys, or one, make a word. What is highest is subtracted first, so that its power is 1 whatever its size.
template <class T>
DIT_TARGET void online_softmax(real<T>* scores, Index keys, real<T> scale, real<T>* highest, real<T>* total,
                               real<T>* factor) {
  using R = real<T>;
  const Vec<R> zero = broadcast(R(0)), s = broadcast(scale);
  for (int c = 0; c < tile_width; c += 16) {
    const Vec<R> before = load(highest + c);
    R* const column = scores + c;
    Vec<R> top = before;
    for (Index k = 0; k < keys; ++k) top = max(top, load(column + k * tile_width));
    const Vec<R> f = exp2((before - top) * s);
    Vec<R> sum = zero;
    if constexpr (word_size<T> == 1) {
      for (Index k = 0; k < keys; ++k) {
        R* const at = column + k * tile_width;
        const Vec<R> p = exp2((load(at) - top) * s);
        store(at, p);
        sum = sum + p;
      }
    } else {
      Vec<R> other = zero;
      Index k = 0;
      for (; k + 2 <= keys; k += 2) {
        const Vec<R> p = exp2_for<T>((load(column + k * tile_width) - top) * s);
        const Vec<R> q = exp2_for<T>((load(column + (k + 1) * tile_width) - top) * s);
        store(column + k / 2 * tile_width, interleave(p, q));
        sum = sum + p;
        other = other + q;
      }
      if (k < keys) {
        const Vec<R> p = exp2_for<T>((load(column + k * tile_width) - top) * s);
        store(column + k / 2 * tile_width, interleave(p, zero));
        sum = sum + p;
      }
      sum = sum + other;
    }
    store(highest + c, top);
    store(total + c, multiply_add(load(total + c), f, sum));
    store(factor + c, f);
  }
}

template <class T>
DIT_TARGET void pack_upright(const T* const* rows, Index first, Index depth, Index width, T* panel) {
  for (Index k = 0; k < depth; k += word_size<T>, panel += width * word_size<T>) {
    if constexpr (word_size<T> == 1) {
      store(panel, load(rows[k] + first, width), width);
    } else {
      const Vec<float> even = load(rows[k] + first, width);
      const Vec<float> odd = k + 1 < depth ? load(rows[k + 1] + first, width) : broadcast(0.f);
      store(as_words(panel), interleave(even, odd), width);
    }
  }
}

template <class T>
DIT_TARGET void unpack(const real<T>* from, Index from_stride, Index rows, Index columns, T* to, Index to_stride) {
  Vec<real<T>> v[16];
  for (Index c = 0; c < columns; c += 16) {
    const Index n = columns - c < 16 ? columns - c : 16;
    for (Index r = 0; r < 16; ++r) {
      v[r] = r < rows ? load(from + r * from_stride + c, n) : broadcast(real<T>(0));
    }
    transpose(v);
    for (Index j = 0; j < n; ++j) store(to + (c + j) * to_stride, v[j], rows);
  }
}

/// What an instruction set does with operands of T; see Products.
template <class T>
constexpr Products<T> make_products(std::string_view name, bool flushes = false) {
  Products<T> p{};
  p.name = name;
  p.panel_rows = panel_rows<T>;
  p.flushes = flushes;
  p.multiply = multiply<T>;
  p.pack = pack<T>;
  p.pack_panel = pack_panel<T, real<T>>;
  p.pack_stored = pack_panel<T, stored<T>>;
  p.offset = offset<T>;
  p.store_rounded = store_rounded<T>;
  p.widen = widen<T>;
  if constexpr (std::is_same_v<T, int8>) {
    p.find_highest = find_highest<T, real<T>>;
    p.find_highest_stored = find_highest<T, stored<T>>;
    p.dequantise = dequantise<T>;
  } else {
    p.online_softmax = online_softmax<T>;
    p.pack_upright = pack_upright<T>;
    p.unpack = unpack<T>;
  }
  return p;
}
