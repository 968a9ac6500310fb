// Products::multiply, over the multiply_tile of body_micro.inl or another. See body.inl.

/// Finds the instance for `rows`, counting down from the most frequent.
template <int rows, int strips, class T>
DIT_TARGET void multiply_rows(int wanted, Index steps, const T* panel, const T* w, Index w_step, Index w_strip,
                              bool accumulate, accumulator<T>* tile) {
  if constexpr (rows > 1) {
    if (wanted < rows) {
      return multiply_rows<rows - 1, strips>(wanted, steps, panel, w, w_step, w_strip, accumulate, tile);
    }
  }
  multiply_tile<rows, strips>(steps, panel, w, w_step, w_strip, accumulate, tile);
}

template <class T>
DIT_TARGET void multiply(int rows, int strips, Index steps, const T* panel, const T* w, Index w_step, Index w_strip,
                         bool accumulate, accumulator<T>* tile) {
  w_step *= word_size<T>;
  w_strip *= word_size<T>;
  if constexpr (tile_strips == 2) {
    if (strips == 2) {
      return multiply_rows<panel_rows<T>, 2>(rows, steps, panel, w, w_step, w_strip, accumulate, tile);
    }
  }
  for (int s = 0; s < strips; ++s) {
    multiply_rows<panel_rows<T>, 1>(rows, steps, panel, w + s * w_strip, w_step, w_strip, accumulate,
                                    tile + 16 * s);
  }
}
