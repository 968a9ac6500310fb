/// The contenders OpenBLAS (-DPEERS_OPENBLAS) and Eigen, in fp32: gemm_worker THREADS. Variants: `nt`, the weights
/// as checkpoints have them, [outputs, inputs]; `nn`, transposed beforehand.

#ifdef PEERS_OPENBLAS
#include <cblas.h>
#else
#include <omp.h>

#include <Eigen/Core>
#endif

#include "worker.hpp"

namespace {

using peers::Case;
using peers::Job;

void multiply(const peers::Gemm& g, bool transposed, const float* x, const float* w, float* y) {
#ifdef PEERS_OPENBLAS
  const auto m = static_cast<blasint>(g.m), n = static_cast<blasint>(g.n), k = static_cast<blasint>(g.k);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasNoTrans : CblasTrans, m, n, k, 1, x, k, w,
              transposed ? n : k, 0, y, n);
#else
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Rows> a(x, g.m, g.k);
  Eigen::Map<Rows> out(y, g.m, g.n);
  if (transposed) {
    out.noalias() = a * Eigen::Map<const Rows>(w, g.k, g.n);
  } else {
    out.noalias() = a * Eigen::Map<const Rows>(w, g.n, g.k).transpose();
  }
#endif
}

Job make(const Case& c) {
  if (c.kind != "gemm" || c.dtype != "fp32") peers::absent("not measured");
  const peers::Gemm g(c);
  struct State {
    std::vector<float> x, w, y;
  };
  auto s = std::make_shared<State>(State{g.x(), g.w(), peers::numbers(g.m * g.n)});
  const bool transposed = c.variant == "nn";
  if (transposed) {
    const std::vector<float> w = s->w;
    for (long i = 0; i < g.n; ++i)
      for (long j = 0; j < g.k; ++j)
        s->w[static_cast<std::size_t>(j * g.n + i)] = w[static_cast<std::size_t>(i * g.k + j)];
  }
  Job job;
  job.run = [=] { multiply(g, transposed, s->x.data(), s->w.data(), s->y.data()); };
  job.output = [s] { return s->y; };
  return job;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
#ifdef PEERS_OPENBLAS
  openblas_set_num_threads(threads);
  return peers::serve(std::string(openblas_get_config()) + " " + openblas_get_corename(), make);
#else
  omp_set_num_threads(threads);
  Eigen::setNbThreads(threads);
  return peers::serve("Eigen " + std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) +
                          "." + std::to_string(EIGEN_MINOR_VERSION) + ", g++ -O3 -march=native -fopenmp",
                      make);
#endif
}
