// Verbs on the tile that a micro-kernel leaves.

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
