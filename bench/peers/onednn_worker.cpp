/// The contender oneDNN: onednn_worker THREADS. Weights are brought into the layout that it asks for beforehand;
/// activations come in the product's type (u8 in int8, where dit takes float and quantises on the way), results are
/// float.

#include <omp.h>

#include <cmath>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "worker.hpp"

namespace {

using namespace dnnl;
using peers::Case;
using peers::Job;

memory filled(const std::vector<float>& values, const memory::desc& desc, const engine& cpu, stream& queue) {
  memory plain({desc.dims(), memory::data_type::f32, memory::format_tag::ab}, cpu), there(desc, cpu);
  std::copy(values.begin(), values.end(), static_cast<float*>(plain.get_data_handle()));
  reorder(plain, there).execute(queue, plain, there);
  queue.wait();
  return there;
}

matmul::primitive_desc best(const memory::desc& x, const memory::desc& w, const memory::desc& y,
                            const primitive_attr& attributes, const engine& cpu) {
#if DNNL_VERSION_MAJOR >= 3
  return {cpu, x, w, y, attributes};
#else
  return {{x, w, y}, attributes, cpu};
#endif
}

Job make(const Case& c, const engine& cpu, stream& queue) {
  if (c.kind != "gemm") peers::absent("not measured");
  const peers::Gemm g(c);
  using type = memory::data_type;
  const bool int8 = c.dtype == "int8";
  const type x_type = int8 ? type::u8 : c.dtype == "bf16" ? type::bf16 : type::f32;
  const type w_type = int8 ? type::s8 : x_type;
  const memory::dims x_dims{g.m, g.k}, w_dims{g.k, g.n}, y_dims{g.m, g.n};
  using tag = memory::format_tag;
  primitive_attr attributes;
  std::vector<float> x = g.x(), w(static_cast<std::size_t>(g.k * g.n));
  const std::vector<float> w_t = g.w();
  for (long i = 0; i < g.n; ++i)
    for (long j = 0; j < g.k; ++j)
      w[static_cast<std::size_t>(j * g.n + i)] = w_t[static_cast<std::size_t>(i * g.k + j)];
  float scale = 1;
  if (int8) {  // x in [-1, 1) as u8 with 128 for 0, w in [-0.05, 0.05) as s8: the correction is left to the output
    scale = 1 / 127.f * 0.05f / 127.f;
    for (float& v : x) v = std::nearbyint(v * 127) + 128;
    for (float& v : w) v = std::nearbyint(v * 127 / 0.05f);
#if DNNL_VERSION_MAJOR < 3
    attributes.set_output_scales(0, {scale});
#endif
  }
  const auto pd =
      best({x_dims, x_type, tag::ab}, {w_dims, w_type, tag::any}, {y_dims, type::f32, tag::ab}, attributes, cpu);
  const memory xm = filled(x, pd.src_desc(), cpu, queue), wm = filled(w, pd.weights_desc(), cpu, queue);
  const memory ym(pd.dst_desc(), cpu);
  const matmul product(pd);
  Job job;
  job.run = [=, &queue] {
    product.execute(queue, {{DNNL_ARG_SRC, xm}, {DNNL_ARG_WEIGHTS, wm}, {DNNL_ARG_DST, ym}});
    queue.wait();
  };
  job.output = [=, w = std::move(w)] {
    const float* y = static_cast<const float*>(ym.get_data_handle());
    std::vector<float> out(y, y + g.m * g.n);
    if (int8) {
      std::vector<double> sum(static_cast<std::size_t>(g.n));
      for (std::size_t i = 0; i < w.size(); ++i) sum[i % sum.size()] += w[i];
      const float after = DNNL_VERSION_MAJOR < 3 ? 1 : scale;
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i] = after * out[i] - static_cast<float>(128 * scale * sum[i % sum.size()]);
    }
    return out;
  };
  return job;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) omp_set_num_threads(std::atoi(argv[1]));
  const engine cpu(engine::kind::cpu, 0);
  stream queue(cpu);
  const dnnl_version_t* v = dnnl_version();
  const std::string versions =
      "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  return peers::serve(versions, [&](const Case& c) { return make(c, cpu, queue); });
}
