// Powers of 2, for attention. See body.inl and body_math.inl.

/// 2^x = 2^n 2^r with r = x - n exactly, |r| <= 1/2; polynomial error 0.9e-8, 2^0 is 1 exactly. Below
/// -150 it is 0, from 128 on infinity; NaN stays.
DIT_INLINE Vec<float> exp2(Vec<float> x) {
  x = min(broadcast(129.f), max(broadcast(-151.f), x));
  const Vec<float> n = round(x);
  const Vec<float> r = x - n;
  Vec<float> p = broadcast(0.000154531634f);
  p = fused(p, r, broadcast(0.00133908633f));
  p = fused(p, r, broadcast(0.00961808302f));
  p = fused(p, r, broadcast(0.0555035695f));
  p = fused(p, r, broadcast(0.240226507f));
  p = fused(p, r, broadcast(0.693147182f));
  p = fused(p, r, broadcast(1.f));
  return times_power(p, n);
}

/// 2^x where a bf16 becomes of it: within 1.02e-4 of it, and 1 for 0. x <= 0, or NaN.
template <class T>
DIT_INLINE Vec<float> exp2_for(Vec<float> x) {
  x = max(broadcast(-151.f), x);
  const Vec<float> n = round(x);
  const Vec<float> r = x - n;
  Vec<float> p = broadcast(0.0550089292f);
  p = multiply_add(p, r, broadcast(0.242210954f));
  p = multiply_add(p, r, broadcast(0.693282902f));
  p = multiply_add(p, r, broadcast(1.f));
  return times_power(p, n);
}
