// The micro-kernel, written once over words of T. See body.inl. A simd_*.hpp gives, for every T that it has
// products of:
//     parts<T>                         multiply-adds that a word takes, one after the other
//     multiply_step<part, rows, strips>(panel, w, w_strip, sum), that of body_step.inl or its own

template <int rows, int strips, class T>
DIT_TARGET void multiply_tile(Index steps, const T* panel, const T* w, Index w_step, Index w_strip, bool accumulate,
                              accumulator<T>* tile) {
  constexpr Index ahead = 128;  // steps: by itself the processor looks less far, which costs 2 to 5 %
  Vec<accumulator<T>> sum[rows * strips];
  DIT_UNROLL for (int i = 0; i < rows * strips; ++i) sum[i] = broadcast(accumulator<T>(0));
  for (Index k = 0; k < steps; ++k) {
    DIT_PREFETCH(panel + ahead * rows * word_size<T>);
    DIT_UNROLL for (int s = 0; s < strips; ++s) DIT_PREFETCH(w + s * w_strip + ahead * w_step);
    multiply_step<0, rows, strips>(panel, w, w_strip, sum);
    if constexpr (1 < parts<T>) {
      DIT_READ_AGAIN;
      multiply_step<1, rows, strips>(panel, w, w_strip, sum);
    }
    if constexpr (2 < parts<T>) {
      multiply_step<2, rows, strips>(panel, w, w_strip, sum);
      multiply_step<3, rows, strips>(panel, w, w_strip, sum);
    }
    panel += rows * word_size<T>;
    w += w_step;
  }
  if (accumulate) {
    DIT_UNROLL for (int i = 0; i < rows * strips; ++i) sum[i] =
        sum[i] + load(tile + i / strips * tile_width + i % strips * 16);
  }
  DIT_UNROLL for (int i = 0; i < rows * strips; ++i)
      store(tile + i / strips * tile_width + i % strips * 16, sum[i]);
}
