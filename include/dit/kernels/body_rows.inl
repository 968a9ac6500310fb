// Verbs on rows of contiguous numbers. Lane i of step k is number 16 k + i whatever the machine, so sums have one
// order.

/// The sum of the lanes, as a tree.
template <class T>
DIT_INLINE T sum_of(const Vec<T>& v) {
  T x[16];
  store(x, v);
  DIT_UNROLL for (int half = 8; half > 0; half /= 2) {
    DIT_UNROLL for (int i = 0; i < half; ++i) x[i] += x[i + half];
  }
  return x[0];
}

template <Activation activation, class T>
DIT_INLINE Vec<T> activated(Vec<T> x) {
  if constexpr (activation == Activation::gelu_tanh) {
    return gelu_tanh(x);
  } else if constexpr (activation == Activation::gelu_erf) {
    return gelu_erf(x);
  } else if constexpr (activation == Activation::silu) {
    return silu(x);
  } else if constexpr (activation == Activation::relu) {
    return max(broadcast(T(0)), x);
  } else {
    return x;
  }
}

/// Whole steps, then what is left of one, by way of a buffer: so there is one copy of a long body.
template <Activation activation, class T>
DIT_TARGET void activate_all(const T* x, Index n, T* y) {
  T rest[16];
  const Index left = n % 16;
  const T* from = x;
  T* to = y;
  for (Index numbers = n - left;;) {
    for (Index i = 0; i < numbers; i += 16) store(to + i, activated<activation>(load(from + i)));
    if (to == rest) return store(y + n - left, load(rest), left);
    if (left == 0) return;
    store(rest, load(x + n - left, left));
    from = to = rest;
    numbers = 16;
  }
}

template <class T>
DIT_TARGET void activate(Activation activation, const T* x, Index n, T* y) {
  switch (activation) {
    case Activation::gelu_tanh:
      return activate_all<Activation::gelu_tanh>(x, n, y);
    case Activation::gelu_erf:
      return activate_all<Activation::gelu_erf>(x, n, y);
    case Activation::silu:
      return activate_all<Activation::silu>(x, n, y);
    case Activation::relu:
      return activate_all<Activation::relu>(x, n, y);
    case Activation::none:
      return activate_all<Activation::none>(x, n, y);
  }
}

/// Two passes, mean first and then the squares around it, so nothing cancels. Four sums side by side.
template <class T>
DIT_TARGET void statistics(Norm norm, const T* x, Index n, T eps, T* mean, T* rstd) {
  const Vec<T> zero = broadcast(T(0));
  const T count = static_cast<T>(n);
  *mean = T(0);
  if (norm == Norm::layer) {
    Vec<T> sum[4] = {zero, zero, zero, zero};
    Index i = 0;
    for (; i + 64 <= n; i += 64) {
      DIT_UNROLL for (int j = 0; j < 4; ++j) sum[j] = sum[j] + load(x + i + 16 * j);
    }
    for (; i + 16 <= n; i += 16) sum[0] = sum[0] + load(x + i);
    if (i < n) sum[1] = sum[1] + load(x + i, n - i);
    *mean = sum_of((sum[0] + sum[1]) + (sum[2] + sum[3])) / count;
  }
  const Vec<T> middle = broadcast(*mean);
  Vec<T> sum[4] = {zero, zero, zero, zero};
  Index i = 0;
  for (; i + 64 <= n; i += 64) {
    DIT_UNROLL for (int j = 0; j < 4; ++j) {
      const Vec<T> d = load(x + i + 16 * j) - middle;
      sum[j] = multiply_add(d, d, sum[j]);
    }
  }
  for (; i + 16 <= n; i += 16) {
    const Vec<T> d = load(x + i) - middle;
    sum[0] = multiply_add(d, d, sum[0]);
  }
  T squares = T(0);
  for (; i < n; ++i) squares += (x[i] - *mean) * (x[i] - *mean);
  squares += sum_of((sum[0] + sum[1]) + (sum[2] + sum[3]));
  T root_of[16];
  store(root_of, root(broadcast(squares / count + eps)));
  *rstd = T(1) / root_of[0];
}

/// Four columns of lanes at a time, so that a step reads whole neighbouring cache lines.
template <class T>
DIT_TARGET void moments(const T* x, Index rows, Index columns, Index stride, T* sum, T* squares) {
  const Vec<T> zero = broadcast(T(0));
  Index c = 0;
  for (; c + 64 <= columns; c += 64) {
    Vec<T> first[4], s[4] = {zero, zero, zero, zero}, q[4] = {zero, zero, zero, zero};
    DIT_UNROLL for (int j = 0; j < 4; ++j) first[j] = load(x + c + 16 * j);
    for (Index r = 1; r < rows; ++r) {
      DIT_UNROLL for (int j = 0; j < 4; ++j) {
        const Vec<T> d = load(x + r * stride + c + 16 * j) - first[j];
        s[j] = s[j] + d;
        q[j] = multiply_add(d, d, q[j]);
      }
    }
    DIT_UNROLL for (int j = 0; j < 4; ++j) {
      store(sum + c + 16 * j, s[j]);
      store(squares + c + 16 * j, q[j]);
    }
  }
  for (; c < columns; c += 16) {
    const Index n = columns - c < 16 ? columns - c : 16;
    const Vec<T> first = load(x + c, n);
    Vec<T> s = zero, q = zero;
    for (Index r = 1; r < rows; ++r) {
      const Vec<T> d = load(x + r * stride + c, n) - first;
      s = s + d;
      q = multiply_add(d, d, q);
    }
    store(sum + c, s, n);
    store(squares + c, q, n);
  }
}

template <class T>
DIT_TARGET void normalise(const T* x, Index n, T mean, T rstd, const T* weight, const T* bias, const T* scale,
                          const T* shift, T* y) {
  const Vec<T> m = broadcast(mean), r = broadcast(rstd), one = broadcast(T(1));
  for (Index i = 0; i < n; i += 16) {
    const Index left = n - i;
    if (left >= 16) {
      Vec<T> v = (load(x + i) - m) * r;
      if (weight) v = v * load(weight + i);
      if (bias) v = v + load(bias + i);
      if (scale) v = v * (one + load(scale + i));
      if (shift) v = v + load(shift + i);
      store(y + i, v);
    } else {
      Vec<T> v = (load(x + i, left) - m) * r;
      if (weight) v = v * load(weight + i, left);
      if (bias) v = v + load(bias + i, left);
      if (scale) v = v * (one + load(scale + i, left));
      if (shift) v = v + load(shift + i, left);
      store(y + i, v, left);
    }
  }
}

template <class T>
DIT_TARGET void rotate(const T* x, const T* cos, const T* sin, Index n, T* y) {
  Index i = 0;
  for (; i + 16 <= n; i += 16) {
    const Vec<T> v = load(x + i);
    store(y + i, multiply_add(swap_pairs(v), load(sin + i), v * load(cos + i)));
  }
  if (i < n) {
    const Vec<T> v = load(x + i, n - i);
    store(y + i, multiply_add(swap_pairs(v), load(sin + i, n - i), v * load(cos + i, n - i)), n - i);
  }
}

template <class T>
DIT_TARGET void softmax(const T* x, Index n, T* y) {
  if (n <= 0) return;
  Vec<T> top = broadcast(x[0]);
  Index i = 0;
  for (; i + 16 <= n; i += 16) top = max(top, load(x + i));
  T most[16];
  store(most, top);
  for (int j = 1; j < 16; ++j) most[0] = most[0] > most[j] ? most[0] : most[j];
  for (; i < n; ++i) most[0] = most[0] > x[i] ? most[0] : x[i];
  const Vec<T> m = broadcast(most[0]);
  Vec<T> sum = broadcast(T(0));
  for (i = 0; i + 16 <= n; i += 16) {
    const Vec<T> p = exp(load(x + i) - m);
    store(y + i, p);
    sum = sum + p;
  }
  T total = T(0);
  if (i < n) {
    store(y + i, exp(load(x + i, n - i) - m), n - i);
    for (Index j = i; j < n; ++j) total += y[j];
  }
  const Vec<T> all = broadcast(total + sum_of(sum));
  for (i = 0; i + 16 <= n; i += 16) store(y + i, load(y + i) / all);
  if (i < n) store(y + i, load(y + i, n - i) / all, n - i);
}
