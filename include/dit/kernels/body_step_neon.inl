// A step of the micro-kernel, a word deep, that multiplies by lanes. See body_micro.inl. A simd_neon*.hpp gives
// `dot(a, lane, b, sum)`. The barrier keeps g++ 12 from loading the next step's words before this one is done, and
// then lacking registers.

template <int part, int rows, int strips, class T>
DIT_INLINE void multiply_step(const T* panel, const T* w, Index, Vec<accumulator<T>> (&sum)[rows * strips]) {
  int32x4_t words[(rows + 3) / 4];
  load_rows<rows>(panel, words);
  Part<accumulator<T>> a[(rows + 3) / 4];
  DIT_UNROLL for (int i = 0; i < (rows + 3) / 4; ++i) a[i] = part_of<part, T>(words[i]);
  DIT_UNROLL for (int i = 0; i < 4; ++i) {
    const Part<accumulator<T>> b = part_of<part, T>(read<int32x4_t>(w + 4 * i * word_size<T>));
    DIT_UNROLL for (int r = 0; r < rows; ++r) sum[r].part[i] = dot(a[r / 4], r % 4, b, sum[r].part[i]);
  }
  __asm__ volatile("" : : : "memory");
}
