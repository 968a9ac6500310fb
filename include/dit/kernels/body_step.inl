// A step of the micro-kernel, a word deep, that spreads what it takes from the panel. See body_micro.inl. A
// simd_*.hpp gives, for every T that it has products of:
//     Operand<T>, load_operand<part>(const T*), spread_operand<part>(const T*), dot<T>(a, b, sum)

template <int part, int rows, int strips, class T>
DIT_INLINE void multiply_step(const T* panel, const T* w, Index w_strip,
                              Vec<accumulator<T>> (&sum)[rows * strips]) {
  Operand<T> b[strips];
  DIT_UNROLL for (int s = 0; s < strips; ++s) b[s] = load_operand<part>(w + s * w_strip);
  DIT_UNROLL for (int r = 0; r < rows; ++r) {
    const Operand<T> a = spread_operand<part>(panel + r * word_size<T>);
    DIT_UNROLL for (int s = 0; s < strips; ++s) sum[r * strips + s] = dot<T>(a, b[s], sum[r * strips + s]);
  }
}
