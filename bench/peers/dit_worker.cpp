/// The contender dit. One program for each scalar: -DPEERS_SCALAR=float, dit::bf16 or std::int8_t.
///     dit_worker THREADS

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "dit/dit.hpp"
#include "peak.hpp"
#include "worker.hpp"

#ifndef PEERS_SCALAR
#define PEERS_SCALAR float
#endif

namespace {

using dit::Index;
using peers::Case;
using peers::Job;
using T = PEERS_SCALAR;
using R = dit::real<T>;

constexpr const char* dtype = dit::bench::type_name<T>();

/// Every tensor starts at a place of its own in the table, by its name; norms are near 1.
template <class M>
void fill(M& model) {
  dit::fill(model, [](const dit::Path& path, const auto&) {
    const std::string name = path.str();
    const bool norm = name.ends_with("norm.scale") || name.find(".ln_") != std::string::npos;
    return [i = peers::start(name), one = norm ? 1. : 0.]() mutable {
      return one + peers::table()[i++ % peers::period];
    };
  });
  if constexpr (requires { model.fill_derived(); }) model.fill_derived();
}

template <class M>
std::shared_ptr<M> filled() {
  auto model = std::make_shared<M>();
  fill(*model);
  return model;
}

template <int width>
dit::Tokens<R, width> tokens(std::vector<R>& x) {
  return {x.data(), 1, static_cast<Index>(x.size()) / width};
}

/// y = linear(x), from fp32 rows to fp32 rows.
template <int in, int out>
Job linear(Index rows, dit::Workspace& workspace) {
  struct State {
    dit::Linear<in, out, T> layer;
    std::vector<R> x, y;
  };
  auto s = std::make_shared<State>();
  s->x = peers::numbers(rows * in, peers::activations);
  s->y.resize(static_cast<std::size_t>(rows * out));
  dit::fill(s->layer, [](const dit::Path&, const auto& p) {
    return [i = std::size_t{0}, weight = p.shape.size() == 2]() mutable {
      return weight ? peers::table()[i++ % peers::period] : 0.;
    };
  });
  Job job;
  job.run = [s, &workspace] { store(tokens<out>(s->y), s->layer(tokens<in>(s->x)), workspace); };
  job.output = [s] { return s->y; };
  return job;
}

struct Widths {
  int in, out;
};
constexpr Widths widths[] = {{1152, 3456}, {1152, 1152}, {1152, 4608}, {4608, 1152},
                             {1536, 6144}, {1536, 4608}, {3072, 3072}};

template <std::size_t... i>
Job gemm(const peers::Gemm& g, dit::Workspace& workspace, std::index_sequence<i...>) {
  Job job;
  const bool found = ((g.k == widths[i].in && g.n == widths[i].out
                           ? (job = linear<widths[i].in, widths[i].out>(g.m, workspace), true)
                           : false) ||
                      ...);
  if (!found) peers::absent("dit_worker.cpp was not compiled for these widths");
  return job;
}

/// The products of DiT-XL/2's blocks alone, one after the other, each with weights of its own.
Job chain(Index rows, dit::Workspace& workspace) {
  struct Block {
    dit::Linear<1152, 3456, T> qkv;
    dit::Linear<1152, 1152, T> proj;
    dit::Linear<1152, 4608, T> up;
    dit::Linear<4608, 1152, T> down;
  };
  struct State {
    std::array<Block, 28> blocks;
    std::vector<R> x, qkv, hidden, y;
  };
  auto s = std::make_shared<State>();
  s->x = peers::numbers(rows * 1152, peers::activations);
  s->y = s->x;
  s->qkv.resize(s->x.size() * 3);
  s->hidden.resize(s->x.size() * 4);
  for (Block& b : s->blocks) fill(b.qkv), fill(b.proj), fill(b.up), fill(b.down);
  Job job;
  job.run = [s, &workspace] {
    for (const Block& b : s->blocks) {
      store(tokens<3456>(s->qkv), b.qkv(tokens<1152>(s->x)), workspace);
      store(tokens<1152>(s->y), b.proj(tokens<1152>(s->x)), workspace);
      store(tokens<4608>(s->hidden), b.up(tokens<1152>(s->x)), workspace);
      store(tokens<1152>(s->y), b.down(tokens<4608>(s->hidden)), workspace);
    }
  };
  return job;
}

Job xl2(Index side, dit::Workspace& workspace) {
  using Model = dit::DiT<dit::dit_xl_2, T>;
  struct State {
    std::shared_ptr<Model> model;
    dit::Tensor<R, 4> x, out;
  };
  static std::weak_ptr<Model> last;  // two sizes of latents share the weights
  std::shared_ptr<Model> model = last.lock();
  if (!model) last = model = filled<Model>();
  auto s = std::make_shared<State>(
      State{model, dit::Tensor<R, 4>(1, 4, side, side), dit::Tensor<R, 4>(1, 8, side, side)});
  const auto x = peers::numbers(4 * side * side, peers::activations);
  std::copy(x.begin(), x.end(), s->x.data());
  Job job;
  job.run = [s, &workspace] { (*s->model)(s->x, std::vector<R>{500}, std::vector<int>{207}, s->out, workspace); };
  job.output = [s] { return std::vector<float>(s->out.data(), s->out.data() + s->out.size()); };
  return job;
}

/// FLUX's turns for text and a square of image tokens.
struct Turns {
  static constexpr int head = 128;
  std::vector<R> cos, sin;
  dit::Rope<R> rope;

  Turns(Index image, Index text, dit::Workspace& workspace)
      : cos(static_cast<std::size_t>((text + image) * head)), sin(cos.size()) {
    Index side = 1;
    while (side * side < image) ++side;
    const auto id = [=](Index token, int axis) -> Index {
      if (token < text || axis == 0) return 0;
      return axis == 1 ? (token - text) / side : (token - text) % side;
    };
    rope = dit::rope_table(dit::flux_dev.axes, 10000, text + image, id, cos.data(), sin.data(), workspace);
  }
};

template <class Block>
struct BlockState {
  Block block;
  std::vector<R> chunks, x0, context0, x, context;
  std::unique_ptr<Turns> turns;  ///< none in SD3

  BlockState(Index image, Index text, int count)
      : chunks(peers::numbers(count * Block::width, 10)),
        x0(peers::numbers(image * Block::width, peers::activations)),
        context0(peers::numbers(text * Block::width, peers::activations)) {
    fill(block);
  }
  void reset() { x = x0, context = context0; }
  dit::Rope<R> rope(Index token) const { return turns ? turns->rope.from(token, Turns::head) : dit::Rope<R>{}; }
};

template <class Block>
Job joint(Index image, Index text, bool turned, dit::Workspace& workspace) {
  auto s = std::make_shared<BlockState<Block>>(image, text, 6);
  if (turned) s->turns = std::make_unique<Turns>(image, text, workspace);
  Job job;
  job.reset = [s] { s->reset(); };
  job.run = [s, text, &workspace] {
    const typename Block::Modulations m{{s->chunks.data()}, {s->chunks.data()}};
    s->block(tokens<Block::width>(s->x), tokens<Block::width>(s->context), m, workspace, s->rope(0), s->rope(text));
  };
  job.output = [s] {
    std::vector<float> all = s->x;
    all.insert(all.end(), s->context.begin(), s->context.end());
    return all;
  };
  return job;
}

Job single(Index image, Index text, dit::Workspace& workspace) {
  using Block = dit::SingleStreamBlock<dit::flux_dev.block(), T>;
  auto s = std::make_shared<BlockState<Block>>(image + text, 0, 3);
  s->turns = std::make_unique<Turns>(image, text, workspace);
  Job job;
  job.reset = [s] { s->reset(); };
  job.run = [s, &workspace] {
    s->block(tokens<Block::width>(s->x), typename Block::Modulations{s->chunks.data()}, workspace, s->rope(0));
  };
  job.output = [s] { return s->x; };
  return job;
}

/// softmax(q k^T / sqrt(d)) v of tokens [n, heads, d], in bf16 where the scalar is smaller.
Job attention(Index n, Index heads, Index d, dit::Workspace& workspace) {
  using Store = std::conditional_t<std::is_same_v<T, float>, float, dit::bf16>;
  struct State {
    std::vector<Store> qkv, out;
  };
  const std::vector<float> x = peers::numbers(3 * n * heads * d, peers::activations);
  auto s = std::make_shared<State>(State{{x.begin(), x.end()}, {}});
  s->out.resize(x.size() / 3);
  Job job;
  job.run = [=, &workspace] {
    const Index width = heads * d;
    const Store* q = s->qkv.data();
    const dit::AttentionStream<Store> stream{q,         q + width,     q + 2 * width, s->out.data(), n,
                                             3 * width, 3 * width * n, width,         width * n};
    dit::attention(stream, 1, heads, d, static_cast<R>(1 / std::sqrt(static_cast<double>(d))), workspace);
  };
  job.output = [s] { return std::vector<float>(s->out.begin(), s->out.end()); };
  return job;
}

/// Seconds for a FLOP.
Job peak(dit::Workspace& workspace) {
  Job job;
  job.measure = [&workspace] { return 1e-9 / dit::bench::peak_of<T>(dit::active_isa(), workspace.executor()); };
  return job;
}

Job make(const Case& c, dit::Workspace& workspace) {
  constexpr dit::BlockConfig sd3 = dit::sd3_medium.block(), flux = dit::flux_dev.block();
  if (c.dtype != dtype) peers::absent("this program is dit in " + std::string(dtype));
  if (c.kind == "peak") return peak(workspace);
  if (c.kind == "gemm") return gemm(peers::Gemm(c), workspace, std::make_index_sequence<std::size(widths)>{});
  if (c.kind == "chain") return chain(c.size(0), workspace);
  if (c.kind == "xl2") return xl2(c.size(0), workspace);
  if (c.kind == "sd3") return joint<dit::MMDiTBlock<sd3, T>>(c.size(0), c.size(1), false, workspace);
  if (c.kind == "flux_double") {
    return joint<dit::DoubleStreamBlock<flux, T>>(c.size(0), c.size(1), true, workspace);
  }
  if (c.kind == "flux_single") return single(c.size(0), c.size(1), workspace);
  if (c.kind == "attention") return attention(c.size(0), c.size(1), c.size(2), workspace);
  peers::absent("not measured");
}

}  // namespace

int main(int argc, char** argv) {
  dit::Workspace workspace(argc > 1 ? std::atoi(argv[1]) : 0);
  const std::string versions = "dit " + std::string(dtype) + ", " + std::string(name(dit::active_isa()));
  return peers::serve(versions, [&](const Case& c) { return make(c, workspace); });
}
