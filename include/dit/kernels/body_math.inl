// exp and its relatives in float, to about 2 units in the last place. (Double comes from the standard library.)

/// (p is e^r or 2^r on the reduced range) Polynomials are near-minimax, fitted in 40 digits, then rounded to float.
/// e^x = 2^n e^r with n = round(x / ln 2), r = x + x_low - n ln 2, |r| <= 0.347. ln 2 is split into 12 bits and the
/// rest, so that n ln2_high is exact. The polynomial's relative error is 1.1e-8 = 0.09 ulp; with r's rounding (0.35
/// * 2^-24) and those of the last three steps the result is within 2 ulp. Below -104 it is 0, above 88.73 infinity;
/// NaN stays.
DIT_INLINE Vec<float> exp(Vec<float> x, Vec<float> x_low) {
  x = min(broadcast(89.f), max(broadcast(-104.f), x));
  const Vec<float> n = round(x * broadcast(1.44269502f));
  Vec<float> r = fused(n, broadcast(-0.693115234375f), x);
  r = fused(n, broadcast(-3.19461833e-05f), r) + x_low;
  Vec<float> p = broadcast(0.0013926184f);
  p = fused(p, r, broadcast(0.00836317893f));
  p = fused(p, r, broadcast(0.0416665561f));
  p = fused(p, r, broadcast(0.166665763f));
  p = fused(p, r, broadcast(0.5f));
  p = fused(p * r, r, r) + broadcast(1.f);
  return times_power(p, n);
}
DIT_INLINE Vec<float> exp(Vec<float> x) { return exp(x, broadcast(0.f)); }

/// x / (1 + e^-(y + y_low)) for y of x's sign: e^-|y| cannot overflow, so the tail keeps its relative accuracy.
DIT_INLINE Vec<float> times_sigmoid(Vec<float> x, Vec<float> y, Vec<float> y_low) {
  const Vec<float> zero = broadcast(0.f);
  const Vec<float> z = exp(if_less(y, zero, y, zero - y), if_less(y, zero, y_low, zero - y_low));
  const Vec<float> finite = max(broadcast(-128.f), x);  // times z = 0 from there on
  return if_less(y, zero, finite * z, x) / (broadcast(1.f) + z);
}

DIT_INLINE Vec<float> silu(Vec<float> x) { return times_sigmoid(x, x, broadcast(0.f)); }

/// x/2 (1 + tanh u) = x / (1 + e^-2u) with 2u = x (c1 + c2 x^2), c1 = 2 sqrt(2/pi), c2 = 0.044715 c1.
/// In the left tail the relative error is that of 2u times |2u| <= 88, so 2u is carried as a sum of two floats: the
/// rounding errors of x^2, of the sum and of the product are recovered by fused steps. c1's leading part has 12
/// bits, which makes t - c1 exact.
DIT_INLINE Vec<float> gelu_tanh(Vec<float> x) {
  const Vec<float> c1 = broadcast(1.595703125f), c2 = broadcast(0.07135481387376785f);
  const Vec<float> zero = broadcast(0.f);
  const Vec<float> v = min(broadcast(20.f), max(broadcast(-20.f), x));
  const Vec<float> s = v * v;
  const Vec<float> s_low = fused(v, v, zero - s);
  const Vec<float> t = fused(c2, s, c1);
  const Vec<float> t_low =
      fused(c2, s, c1 - t) + fused(broadcast(2.39883247e-09f), s, fused(c2, s_low, broadcast(6.59966026e-05f)));
  const Vec<float> y = v * t;
  return times_sigmoid(x, y, fused(v, t_low, fused(v, t, zero - y)));
}

/// x Phi(x), with Phi(-z) = e^(-z^2/2) g(z) / (1 + z) for z = |x|, g a polynomial in (z - 4) / (z + 4) for z <= 14
/// (relative error 1.8e-8); beyond it e^(-z^2/2) underflows to 0. x > 0 takes x - x Phi(-x).
DIT_INLINE Vec<float> gelu_erf(Vec<float> x) {
  const Vec<float> zero = broadcast(0.f), four = broadcast(4.f), one = broadcast(1.f);
  const Vec<float> v = min(broadcast(15.f), max(broadcast(-15.f), x)), z = max(v, zero - v);
  const Vec<float> w = (z - four) / (z + four);
  Vec<float> g = broadcast(-7.34134082e-05f);
  g = fused(g, w, broadcast(-6.44840693e-05f));
  g = fused(g, w, broadcast(0.000691795838f));
  g = fused(g, w, broadcast(-0.000301115302f));
  g = fused(g, w, broadcast(-0.00500300014f));
  g = fused(g, w, broadcast(0.017939629f));
  g = fused(g, w, broadcast(-0.0321976244f));
  g = fused(g, w, broadcast(0.0286000259f));
  g = fused(g, w, broadcast(0.0139996232f));
  g = fused(g, w, broadcast(-0.0967034698f));
  g = fused(g, w, broadcast(0.4720532f));
  const Vec<float> s = z * z, half = broadcast(-0.5f);
  const Vec<float> tail = v * exp(half * s, half * fused(z, z, zero - s)) * g / (one + z);
  return if_less(x, zero, tail, x - tail);
}
