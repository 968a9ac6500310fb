// The micro-kernel, and verbs on the tile that it leaves.

template <int rows, int strips, class T>
DIT_TARGET void multiply_tile(Index depth, const T* panel, const T* w, Index w_step, Index w_strip, bool accumulate,
                              T* tile) {
  Vec<T> sum[rows * strips];
  DIT_UNROLL for (int i = 0; i < rows * strips; ++i) sum[i] = broadcast(T(0));
  for (Index k = 0; k < depth; ++k) {
    Vec<T> b[strips];
    DIT_UNROLL for (int s = 0; s < strips; ++s) b[s] = load(w + s * w_strip);
    DIT_UNROLL for (int r = 0; r < rows; ++r) {
      const Vec<T> a = broadcast(panel[r]);
      DIT_UNROLL for (int s = 0; s < strips; ++s) sum[r * strips + s] = multiply_add(a, b[s], sum[r * strips + s]);
    }
    panel += rows;
    w += w_step;
  }
  if (accumulate) {
    DIT_UNROLL for (int i = 0; i < rows * strips; ++i) sum[i] =
        sum[i] + load(tile + i / strips * tile_width + i % strips * 16);
  }
  DIT_UNROLL for (int i = 0; i < rows * strips; ++i)
      store(tile + i / strips * tile_width + i % strips * 16, sum[i]);
}

/// Finds the instance for `rows`, counting down from the most frequent.
template <int rows, int strips, class T>
DIT_TARGET void multiply_rows(int wanted, Index depth, const T* panel, const T* w, Index w_step, Index w_strip,
                              bool accumulate, T* tile) {
  if constexpr (rows > 1) {
    if (wanted < rows) {
      return multiply_rows<rows - 1, strips>(wanted, depth, panel, w, w_step, w_strip, accumulate, tile);
    }
  }
  multiply_tile<rows, strips>(depth, panel, w, w_step, w_strip, accumulate, tile);
}

template <class T>
DIT_TARGET void multiply(int rows, int strips, Index depth, const T* panel, const T* w, Index w_step, Index w_strip,
                         bool accumulate, T* tile) {
  if constexpr (tile_strips == 2) {
    if (strips == 2) {
      return multiply_rows<panel_rows<T>, 2>(rows, depth, panel, w, w_step, w_strip, accumulate, tile);
    }
  }
  for (int s = 0; s < strips; ++s) {
    multiply_rows<panel_rows<T>, 1>(rows, depth, panel, w + s * w_strip, w_step, w_strip, accumulate,
                                    tile + 16 * s);
  }
}

template <class T>
DIT_TARGET void transpose(const T* from, Index from_stride, Index rows, Index columns, T* to, Index to_stride) {
  for (Index c = 0; c < columns; c += 16) {
    Vec<T> v[16];
    const Index n = columns - c;
    if (n >= 16) {
      DIT_UNROLL for (int r = 0; r < 16; ++r) v[r] = r < rows ? load(from + r * from_stride + c) : broadcast(T(0));
      transpose(v);
      DIT_UNROLL for (int j = 0; j < 16; ++j) store(to + (c + j) * to_stride, v[j], rows);
    } else {
      for (Index r = 0; r < 16; ++r) v[r] = r < rows ? load(from + r * from_stride + c, n) : broadcast(T(0));
      transpose(v);
      for (Index j = 0; j < n; ++j) store(to + (c + j) * to_stride, v[j], rows);
    }
  }
}

template <class T>
DIT_TARGET void add_bias(T* tile, Index rows, Index columns, const T* bias) {
  for (Index c = 0; c < columns; c += 16) {
    const Vec<T> b = load(bias + c, columns - c < 16 ? columns - c : 16);
    for (Index r = 0; r < rows; ++r) store(tile + r * tile_width + c, load(tile + r * tile_width + c) + b);
  }
}

template <class T>
DIT_TARGET void store_tile(const T* tile, Index rows, Index columns, T* y, Index stride) {
  for (Index c = 0; c < columns; c += 16) {
    const Index n = columns - c < 16 ? columns - c : 16;
    for (Index r = 0; r < rows; ++r) store(y + r * stride + c, load(tile + r * tile_width + c), n);
  }
}

template <class T>
DIT_TARGET void add_gated(const T* tile, Index rows, Index columns, const T* gate, T* x, Index stride) {
  for (Index c = 0; c < columns; c += 16) {
    const Index n = columns - c < 16 ? columns - c : 16;
    const Vec<T> g = gate ? load(gate + c, n) : broadcast(T(1));
    for (Index r = 0; r < rows; ++r) {
      T* to = x + r * stride + c;
      store(to, multiply_add(g, load(tile + r * tile_width + c), load(to, n)), n);
    }
  }
}

template <class T>
DIT_TARGET void online_softmax(T* scores, Index keys, T* highest, T* total, T* factor) {
  for (int c = 0; c < tile_width; c += 16) {
    const Vec<T> before = load(highest + c);
    Vec<T> top = before;
    for (Index k = 0; k < keys; ++k) top = max(top, load(scores + k * tile_width + c));
    const Vec<T> f = exp2(before - top);
    Vec<T> sum = broadcast(T(0));
    for (Index k = 0; k < keys; ++k) {
      T* at = scores + k * tile_width + c;
      const Vec<T> p = exp2(load(at) - top);
      store(at, p);
      sum = sum + p;
    }
    store(highest + c, top);
    store(total + c, load(total + c) * f + sum);
    store(factor + c, f);
  }
}

template <class T>
DIT_TARGET void scale(T* tile, Index rows, const T* factor) {
  const Vec<T> f[2] = {load(factor), load(factor + 16)};
  for (Index i = 0; i < 2 * rows; ++i) store(tile + 16 * i, load(tile + 16 * i) * f[i % 2]);
}

template <class T>
DIT_TARGET void divide(T* tile, Index rows, const T* sum) {
  const Vec<T> zero = broadcast(T(0));
  const Vec<T> s[2] = {load(sum), load(sum + 16)};
  for (Index i = 0; i < 2 * rows; ++i) {
    const Vec<T> q = load(tile + 16 * i) / s[i % 2];
    store(tile + 16 * i, if_less(zero, s[i % 2], q, s[i % 2]));  // 0 for 0, NaN for NaN
  }
}
