/// What DiT refuses, and with which error: never a crash, never a wrong picture.

#include <functional>
#include <utility>

#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

using M = DiT<mini>;

struct DiTErrors : testing::Test {
  M model = random_model<M>(1);
  Workspace workspace{1};
  std::vector<float> memory = std::vector<float>(20000);

  View<const float, 4> in(const Shape<4>& shape) const { return {memory.data(), shape}; }
  View<float, 4> out(const Shape<4>& shape) { return {memory.data() + 10000, shape}; }
  void call(View<const float, 4> x, View<float, 4> result, std::vector<float> t = {1, 2},
            std::vector<int> y = {0, 10}) {
    model(x, t, y, result, workspace);
  }
};

const Shape<4> x_shape{2, 4, 8, 8}, out_shape{2, 8, 8, 8};

TEST_F(DiTErrors, ShapesThatDoNotFit) {
  call(in(x_shape), out(out_shape));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 4, 7, 8}), out({2, 8, 7, 8})));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 4, 8, 5}), out({2, 8, 8, 5})));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 3, 8, 8}), out(out_shape)));
  EXPECT_ERROR(errc::bad_input_shape, call(in(x_shape), out({2, 4, 8, 8})));
  EXPECT_ERROR(errc::bad_input_shape, call(in(x_shape), out({2, 8, 4, 16})));
  EXPECT_ERROR(errc::bad_input_shape, call(in(x_shape), out({1, 8, 8, 8})));
  EXPECT_ERROR(errc::bad_input_shape, call(in({0, 4, 8, 8}), out({0, 8, 8, 8}), {}, {}));
  EXPECT_ERROR(errc::bad_input_shape, call(in({-2, 4, 8, 8}), out({-2, 8, 8, 8})));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 4, 0, 8}), out({2, 8, 0, 8})));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 4, Index{1} << 40, Index{1} << 40}), out(out_shape)));
  EXPECT_ERROR(errc::bad_input_shape, call({}, out(out_shape)));
  EXPECT_ERROR(errc::bad_input_shape, call({nullptr, x_shape}, out(out_shape)));
  EXPECT_ERROR(errc::bad_input_shape, call(in(x_shape), {nullptr, out_shape}));
}

TEST_F(DiTErrors, ShapesThatDoNotFitWhereTheResultIsItsOwn) {
  const auto own = [this](const Shape<4>& shape) {
    return model(in(shape), std::vector<float>{1, 2}, std::vector<int>{0, 10}, workspace);
  };
  own(x_shape);
  EXPECT_ERROR(errc::bad_input_shape, own({-2, 4, 8, 8}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 4, Index{1} << 40, Index{1} << 40}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 4, 7, 8}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 3, 8, 8}));
}

TEST_F(DiTErrors, TimesAndClassesThatAreNotThere) {
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1}, {0, 10}));
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1, 2}, {0}));
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1, 2, 3}, {0, 1, 2}));
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1, 2}, {0, 11}));
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1, 2}, {-1, 0}));
  EXPECT_ERROR(errc::bad_schedule, call(in(x_shape), out(out_shape), {1, NAN}));
  EXPECT_ERROR(errc::bad_schedule, call(in(x_shape), out(out_shape), {INFINITY, 1}));
}

TEST_F(DiTErrors, OutputOverInput) {
  const View<float, 4> over{memory.data() + 100, out_shape};
  EXPECT_ERROR(errc::aliasing, call(in(x_shape), over));
  const View<const float, 4> inside{memory.data() + 10000 + 1023, x_shape};
  EXPECT_ERROR(errc::aliasing, call(inside, out(out_shape)));
  const View<const float, 4> after{memory.data() + 10000 + 1024, x_shape};
  call(after, out(out_shape));
}

TEST_F(DiTErrors, ModelsWithoutWeights) {
  M other = std::move(model);
  EXPECT_ERROR(errc::bad_state, call(in(x_shape), out(out_shape)));  // moved from
  model = M{};
  EXPECT_ERROR(errc::bad_state, call(in(x_shape), out(out_shape)));
  const std::vector<float> table(2 * M::Modulations::per_vector);
  EXPECT_ERROR(errc::bad_state, model(in(x_shape), M::Modulations{table.data(), 2, 0}, out(out_shape), workspace));
  model = std::move(other);
  call(in(x_shape), out(out_shape));
}

TEST_F(DiTErrors, ModulationTablesThatAreTooShort) {
  const std::vector<float> table(3 * M::Modulations::per_vector);
  const auto with = [&](Index vectors, Index first) {
    model(in(x_shape), M::Modulations{table.data(), vectors, first}, out(out_shape), workspace);
  };
  with(3, 0);
  with(3, 1);
  EXPECT_ERROR(errc::bad_condition, with(3, 2));
  EXPECT_ERROR(errc::bad_condition, with(1, 0));
  EXPECT_ERROR(errc::bad_condition, with(3, -1));
  EXPECT_ERROR(errc::bad_condition, model(in(x_shape), M::Modulations{}, out(out_shape), workspace));
}

TEST_F(DiTErrors, AWorkspaceThatIsBusy) {
  {
    const auto lease = workspace.lease();
    EXPECT_ERROR(errc::busy, call(in(x_shape), out(out_shape)));
  }
  // From inside a pass of its own: an executor whose strand calls the model again.
  struct Again final : Executor {
    std::function<void()> f;
    std::optional<errc> thrown;
    int strands() const noexcept override { return 2; }
    void run(void (*strand)(void*, int) noexcept, void* context) override {
      if (f) thrown = error_of(std::exchange(f, nullptr));
      strand(context, 0);
      strand(context, 1);
    }
  } again;
  Workspace inner(again);
  std::vector<float> t{1, 2}, result(1024);
  std::vector<int> y{0, 10};
  again.f = [&] { model(in(x_shape), t, y, View<float, 4>(result.data(), out_shape), inner); };
  model(in(x_shape), t, y, out(out_shape), inner);
  EXPECT_TRUE(again.thrown == errc::busy);
}

TEST_F(DiTErrors, LeaveTheWorkspaceAsItWas) {
  EXPECT_ERROR(errc::bad_condition, call(in(x_shape), out(out_shape), {1, 2}, {0, 11}));
  EXPECT_ERROR(errc::bad_input_shape, call(in({2, 3, 8, 8}), out(out_shape)));
  workspace.reserve(1);  // which throws while something is taken
  call(in(x_shape), out(out_shape));
}

TEST_F(DiTErrors, ANaNInOneSampleStaysThere) {
  auto x = latents<M>(2, 8, 8, 2);
  const auto clean = run(model, x, workspace);
  x.data()[3] = NAN;
  const auto result = run(model, x, workspace);
  EXPECT_TRUE(same_bits(samples(result, 1, 1), samples(clean, 1, 1)));
  for (Index i = 0; i < 512; ++i) ASSERT_TRUE(std::isnan(result.data()[i])) << i;
}

}  // namespace
