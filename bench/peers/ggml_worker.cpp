/// The contender ggml: ggml_worker THREADS. Its CPU backend's mul_mat, activations and results in float, weights in
/// the variant's type (f32, f16, bf16, q8_0).

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "worker.hpp"

namespace {

using peers::Case;
using peers::Job;

struct Graph {
  ggml_backend_t backend;
  ggml_type type;
  ggml_context *weights, *values;
  ggml_backend_buffer_t buffer = nullptr;
  ggml_gallocr_t allocator = nullptr;
  ggml_cgraph* graph = nullptr;
  std::vector<ggml_tensor*> matrices;
  ggml_tensor *x = nullptr, *y = nullptr;

  static ggml_context* context() {
    return ggml_init({.mem_size = 16u << 20, .mem_buffer = nullptr, .no_alloc = true});
  }
  Graph(ggml_backend_t b, ggml_type t) : backend(b), type(t), weights(context()), values(context()) {
    graph = ggml_new_graph_custom(values, 4096, false);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (allocator) ggml_gallocr_free(allocator);
    if (buffer) ggml_backend_buffer_free(buffer);
    ggml_free(weights);
    ggml_free(values);
  }

  void input(long rows, long width) {
    x = ggml_new_tensor_2d(values, GGML_TYPE_F32, width, rows);
    ggml_set_input(x);
    ggml_set_output(x);  // so that its memory is not used again
  }
  /// of [rows, in] and a new matrix [out, in]
  ggml_tensor* product(ggml_tensor* of, long out) {
    matrices.push_back(ggml_new_tensor_2d(weights, type, of->ne[0], out));
    ggml_tensor* result = ggml_mul_mat(values, matrices.back(), of);
    ggml_build_forward_expand(graph, result);
    return result;
  }
  /// Memory, and the numbers of weights and input.
  void ready() {
    ggml_set_output(y);
    buffer = ggml_backend_alloc_ctx_tensors(weights, backend);
    allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    if (!buffer || !ggml_gallocr_alloc_graph(allocator, graph)) peers::absent("no memory");
    for (ggml_tensor* m : matrices) {
      const std::vector<float> w = peers::numbers(ggml_nelements(m));
      std::vector<char> bytes(ggml_nbytes(m));
      ggml_quantize_chunk(type, w.data(), bytes.data(), 0, m->ne[1], m->ne[0], nullptr);
      ggml_backend_tensor_set(m, bytes.data(), 0, bytes.size());
    }
    const std::vector<float> in = peers::numbers(ggml_nelements(x), peers::activations);
    ggml_backend_tensor_set(x, in.data(), 0, ggml_nbytes(x));
  }
};

ggml_type type_named(const std::string& name) {
  if (name == "f32") return GGML_TYPE_F32;
  if (name == "f16") return GGML_TYPE_F16;
  if (name == "bf16") return GGML_TYPE_BF16;
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  peers::absent("no such variant");
}

Job make(const Case& c, ggml_backend_t backend) {
  if (c.kind != "gemm" && c.kind != "chain") peers::absent("not measured");
  auto g = std::make_shared<Graph>(backend, type_named(c.variant));
  if (c.kind == "gemm") {
    g->input(c.size(0), c.size(1));
    g->y = g->product(g->x, c.size(2));
  } else {
    g->input(c.size(0), 1152);
    for (int block = 0; block < 28; ++block) {
      g->product(g->x, 3456);
      g->product(g->x, 1152);
      g->y = g->product(g->product(g->x, 4608), 1152);
    }
  }
  g->ready();
  Job job;
  job.run = [g] {
    if (ggml_backend_graph_compute(g->backend, g->graph) != GGML_STATUS_SUCCESS) peers::absent("it did not run");
  };
  job.output = [g] {
    std::vector<float> out(static_cast<std::size_t>(ggml_nelements(g->y)));
    ggml_backend_tensor_get(g->y, out.data(), 0, ggml_nbytes(g->y));
    return out;
  };
  return job;
}

}  // namespace

int main(int argc, char** argv) {
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  const ggml_backend_t backend = ggml_backend_cpu_init();
  ggml_backend_cpu_set_n_threads(backend, argc > 1 ? std::atoi(argv[1]) : 1);
  const std::string commit = ggml_commit();
  const std::string versions = std::string("ggml ") + ggml_version() + (commit == "unknown" ? "" : " at " + commit);
  return peers::serve(versions, [backend](const Case& c) { return make(c, backend); });
}
