/// What models that are told a text refuse, and with which error: never a crash, never a wrong picture.

#include <limits>

#include "models/text_models.hpp"

namespace {

using namespace dit;
using namespace support;

const Shape<4> shape{2, 4, 6, 10};

template <class M>
struct TextErrors : testing::Test {
  M model = random_model<M>(1);
  Workspace workspace{1};
  typename M::Condition condition = random_condition<M>(2, 3);
  std::vector<float> memory = std::vector<float>(20000);

  View<const float, 4> in(const Shape<4>& s) const { return {memory.data(), s}; }
  View<float, 4> out(const Shape<4>& s) { return {memory.data() + 10000, s}; }
  void call(View<const float, 4> x, View<float, 4> v, const std::vector<float>& t = {0.5, 0.25}) {
    model(x, t, condition, v, workspace);
  }
  void call() { call(in(shape), out(shape)); }
  /// With another condition, in the model itself and in a field.
  std::optional<errc> told(const typename M::Condition& other) {
    const auto direct = error_of([&] {
      model(in(shape), std::vector<float>{0.5, 0.25}, other, out(shape), workspace);
    });
    const auto field = error_of([&] { Conditioned(model, other, workspace)(in(shape), 0.5F, out(shape)); });
    EXPECT_TRUE(direct == field) << (direct ? name(*direct) : "none") << ", " << (field ? name(*field) : "none");
    return direct;
  }
};
using Floats = testing::Types<MMDiT<mixed_mini>, Flux<flux_mini>>;
TYPED_TEST_SUITE(TextErrors, Floats, ModelName);

TYPED_TEST(TextErrors, ShapesThatDoNotFit) {
  this->call();
  const auto refused = [this](const Shape<4>& x, const Shape<4>& v) {
    SCOPED_TRACE(dit::to_string(x) + " to " + dit::to_string(v));
    EXPECT_ERROR(errc::bad_input_shape, this->call(this->in(x), this->out(v)));
    const std::vector<float> table(2 * TypeParam::Modulations::per_vector);
    const auto embedded = this->model.embed(this->condition, this->workspace);
    EXPECT_ERROR(errc::bad_input_shape, this->model(this->in(x), typename TypeParam::Modulations{{table.data(), 2}},
                                                    embedded, this->out(v), this->workspace));
  };
  refused({2, 4, 7, 10}, {2, 4, 7, 10});
  refused({2, 4, 6, 9}, {2, 4, 6, 9});
  refused({2, 3, 6, 10}, {2, 3, 6, 10});
  refused({2, 3, 6, 10}, shape);
  refused({2, 5, 6, 10}, shape);
  refused({2, 16, 6, 10}, shape);
  refused(shape, {2, 8, 6, 10});
  refused(shape, {2, 4, 10, 6});
  refused(shape, {1, 4, 6, 10});
  refused({0, 4, 6, 10}, {0, 4, 6, 10});
  refused({-2, 4, 6, 10}, {-2, 4, 6, 10});
  refused({2, 4, 0, 10}, {2, 4, 0, 10});
  refused({2, 4, Index{1} << 40, Index{1} << 40}, shape);
  EXPECT_ERROR(errc::bad_input_shape, this->call({}, this->out(shape)));
  EXPECT_ERROR(errc::bad_input_shape, this->call({nullptr, shape}, this->out(shape)));
  EXPECT_ERROR(errc::bad_input_shape, this->call(this->in(shape), {nullptr, shape}));
}

TYPED_TEST(TextErrors, ShapesThatDoNotFitWhereTheResultIsItsOwn) {
  const auto own = [this](const Shape<4>& s) {
    return this->model(this->in(s), std::vector<float>{0.5, 0.25}, this->condition, this->workspace);
  };
  own(shape);
  EXPECT_ERROR(errc::bad_input_shape, own({-2, 4, 6, 10}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 4, Index{1} << 40, Index{1} << 40}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 4, 7, 10}));
  EXPECT_ERROR(errc::bad_input_shape, own({2, 3, 6, 10}));
}

TYPED_TEST(TextErrors, TimesThatAreNotThere) {
  const auto at = [this](const std::vector<float>& t) { this->call(this->in(shape), this->out(shape), t); };
  EXPECT_ERROR(errc::bad_condition, at({0.5}));
  EXPECT_ERROR(errc::bad_condition, at({}));
  EXPECT_ERROR(errc::bad_condition, at({0.5, 0.25, 0.1F}));
  EXPECT_ERROR(errc::bad_schedule, at({0.5, NAN}));
  EXPECT_ERROR(errc::bad_schedule, at({INFINITY, 0.5}));
  Conditioned field(this->model, this->condition, this->workspace);
  EXPECT_ERROR(errc::bad_schedule,
               field(this->in(shape), std::numeric_limits<float>::quiet_NaN(), this->out(shape)));
  EXPECT_ERROR(errc::bad_schedule, field.prepare(std::vector<float>{0.5, INFINITY}));
  EXPECT_ERROR(errc::bad_condition, field.prepare(std::vector<float>{}));
  field(this->in(shape), 0.5F, this->out(shape));
}

TYPED_TEST(TextErrors, TextsThatDoNotFit) {
  const auto with = [this](auto&& change) {
    auto other = this->condition;
    change(text_of(other));
    return this->told(other);
  };
  EXPECT_TRUE(with([](auto&) {}) == std::nullopt);
  using T = Text<float>;
  const auto wide = [](T& text) { text.context = normal<float, 3>({2, 7, 21}, 1); };
  const auto narrow = [](T& text) { text.context = normal<float, 3>({2, 7, 19}, 1); };
  const auto without_tokens = [](T& text) { text.context = Tensor<float, 3>(2, 0, 20); };
  const auto nothing = [](T& text) { text = {}; };
  const auto wide_pooled = [](T& text) { text.pooled = normal<float, 2>({2, 13}, 1); };
  const auto few_pooled = [](T& text) { text.pooled = normal<float, 2>({1, 12}, 1); };
  const auto no_pooled = [](T& text) { text.pooled = {}; };
  EXPECT_TRUE(with(wide) == errc::bad_condition);
  EXPECT_TRUE(with(narrow) == errc::bad_condition);
  EXPECT_TRUE(with(without_tokens) == errc::bad_condition);
  EXPECT_TRUE(with(nothing) == errc::bad_condition);
  EXPECT_TRUE(with(wide_pooled) == errc::bad_condition);
  EXPECT_TRUE(with(few_pooled) == errc::bad_condition);
  EXPECT_TRUE(with(no_pooled) == errc::bad_condition);
  EXPECT_TRUE(this->told(random_condition<TypeParam>(1, 3)) == errc::bad_condition);  // for one sample only
}

TYPED_TEST(TextErrors, TextsOfAnotherBatch) {
  this->condition =
      random_condition<TypeParam>(3, 3);  // a field takes the first two of three, a single pass does not
  EXPECT_ERROR(errc::bad_condition, this->call());
  Conditioned(this->model, this->condition, this->workspace)(this->in(shape), 0.5F, this->out(shape));
}

TYPED_TEST(TextErrors, OutputOverInput) {
  EXPECT_ERROR(errc::aliasing, this->call(this->in(shape), {this->memory.data() + 100, shape}));
  EXPECT_ERROR(errc::aliasing, this->call(this->in(shape), {this->memory.data(), shape}));
  this->call(this->in(shape), {this->memory.data() + 480, shape});  // right behind
}

TYPED_TEST(TextErrors, ModelsWithoutWeights) {
  using M = TypeParam;
  M other = std::move(this->model);
  EXPECT_ERROR(errc::bad_state, this->call());  // moved from
  this->model = M{};
  EXPECT_ERROR(errc::bad_state, this->call());
  EXPECT_ERROR(errc::bad_state, Conditioned(this->model, this->condition, this->workspace));
  const std::vector<float> table(2 * M::Modulations::per_vector);
  const auto embedded = other.embed(this->condition, this->workspace);
  EXPECT_ERROR(errc::bad_state, this->model(this->in(shape), typename M::Modulations{{table.data(), 2}}, embedded,
                                            this->out(shape), this->workspace));
  this->model = std::move(other);
  this->call();
}

TYPED_TEST(TextErrors, TablesThatAreTooShort) {
  using M = TypeParam;
  const std::vector<float> table(3 * M::Modulations::per_vector);
  const auto embedded = this->model.embed(this->condition, this->workspace);
  const auto with = [&](const typename M::Modulations& m, const typename M::Embedded& e) {
    this->model(this->in(shape), m, e, this->out(shape), this->workspace);
  };
  with({{table.data(), 3, 1}}, embedded);
  EXPECT_ERROR(errc::bad_condition, with({{table.data(), 3, 2}}, embedded));
  EXPECT_ERROR(errc::bad_condition, with({{table.data(), 1, 0}}, embedded));
  EXPECT_ERROR(errc::bad_condition, with({{table.data(), 3, -1}}, embedded));
  EXPECT_ERROR(errc::bad_condition, with({}, embedded));
  EXPECT_ERROR(errc::bad_condition, with({{table.data(), 3, 0}}, {}));
  const auto one = this->model.embed(pick(this->condition, {0}), this->workspace);
  EXPECT_ERROR(errc::bad_condition, with({{table.data(), 3, 0}}, one));
}

TYPED_TEST(TextErrors, AWorkspaceThatIsBusy) {
  Conditioned field(this->model, this->condition, this->workspace);
  {
    const auto lease = this->workspace.lease();
    EXPECT_ERROR(errc::busy, this->call());
    EXPECT_ERROR(errc::busy, field(this->in(shape), 0.5F, this->out(shape)));
    EXPECT_ERROR(errc::busy, field.prepare(std::vector<float>{0.5}));
    EXPECT_ERROR(errc::busy, Conditioned(this->model, this->condition, this->workspace));
  }
  this->call();
  field(this->in(shape), 0.5F, this->out(shape));
}

TYPED_TEST(TextErrors, LeaveTheWorkspaceAsItWas) {
  EXPECT_ERROR(errc::bad_schedule, this->call(this->in(shape), this->out(shape), {0.5, NAN}));
  EXPECT_ERROR(errc::bad_input_shape, this->call(this->in({2, 3, 6, 10}), this->out(shape)));
  EXPECT_TRUE(this->told({}) == errc::bad_condition);
  this->workspace.reserve(1);  // which throws while something is taken
  this->call();
}

TYPED_TEST(TextErrors, ANaNInOneSampleStaysThere) {
  using M = TypeParam;
  const auto x = random_latents<M>(2, 6, 10, 2);
  const auto clean = run_text(this->model, x, this->condition, this->workspace);
  const auto stays_in_the_first = [&](const Tensor<float, 4>& latents, const typename M::Condition& said) {
    const auto result = run_text(this->model, latents, said, this->workspace);
    EXPECT_TRUE(same_bits(pick(result, {1}), pick(clean, {1})));
    for (Index i = 0; i < clean.size() / 2; ++i) ASSERT_TRUE(std::isnan(result.data()[i])) << i;
  };
  auto broken = x;
  broken.data()[3] = NAN;
  stays_in_the_first(broken, this->condition);
  auto told = this->condition;
  text_of(told).context.data()[5] = NAN;
  stays_in_the_first(x, told);
  told = this->condition;
  text_of(told).pooled.data()[5] = NAN;
  stays_in_the_first(x, told);
}

TEST(TextErrors, TwoTextsThatAreNoBatch) {
  using M = MMDiT<mixed_mini>;
  const auto text = random_text<M>(2, 1);
  EXPECT_EQ(concat(text, random_text<M>(3, 2)).samples(), 5);
  EXPECT_ERROR(errc::bad_condition, concat(text, random_text<M>(2, 2, 8)));
  auto other = random_text<M>(2, 2);
  other.context = normal<float, 3>({2, 7, 21}, 1);
  EXPECT_ERROR(errc::bad_condition, concat(text, other));
  other = random_text<M>(2, 2);
  other.pooled = normal<float, 2>({2, 11}, 1);
  EXPECT_ERROR(errc::bad_condition, concat(text, other));
  EXPECT_ERROR(errc::bad_condition, concat(text, {}));
}

TEST(MMDiTErrors, BlocksThatAreNotThere) {
  using M = MMDiT<mixed_mini>;
  const auto model = random_model<M>(1);
  Workspace workspace(1);
  Conditioned field(model, random_text<M>(1, 3), workspace);
  EXPECT_ERROR(errc::bad_option, field.skipping({3}));
  EXPECT_ERROR(errc::bad_option, field.skipping({0, -1}));
  field.skipping({0, 2});
}

struct FluxErrors : TextErrors<Flux<flux_mini>> {};

TEST_F(FluxErrors, GuidanceThatIsNotThereOrNoNumber) {
  const auto with = [this](std::vector<float> guidance) {
    auto other = condition;
    other.guidance = std::move(guidance);
    return told(other);
  };
  EXPECT_TRUE(with({3.5}) == std::nullopt);
  EXPECT_TRUE(with({3.5, 1}) == std::nullopt);
  EXPECT_TRUE(with({}) == errc::bad_condition);
  EXPECT_TRUE(with({3.5, 1, 2}) == errc::bad_condition);
  EXPECT_TRUE(with({NAN}) == errc::bad_guidance);
  EXPECT_TRUE(with({1, INFINITY}) == errc::bad_guidance);
}

TEST_F(FluxErrors, ReferencesThatDoNotFit) {
  const auto with = [this](const Shape<4>& s) {
    auto other = condition;
    other.reference = normal<float, 4>(s, 5);
    return told(other);
  };
  EXPECT_TRUE(with({2, 4, 4, 8}) == std::nullopt);
  EXPECT_TRUE(with({0, 0, 0, 0}) == std::nullopt);  // none
  EXPECT_TRUE(with({0, 4, 4, 8}) == std::nullopt);
  EXPECT_TRUE(with({1, 4, 4, 8}) == errc::bad_input_shape);
  EXPECT_TRUE(with({3, 4, 4, 8}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 3, 4, 8}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 4, 5, 8}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 4, 4, 7}) == errc::bad_input_shape);
}

TEST_F(FluxErrors, ControlWhereTheModelHasNone) {
  auto other = condition;
  other.control = normal<float, 4>({2, 4, 6, 10}, 5);
  EXPECT_TRUE(told(other) == errc::bad_input_shape);
}

struct FluxFillErrors : TextErrors<Flux<fill_mini>> {};

TEST_F(FluxFillErrors, ControlThatDoesNotFit) {
  const auto with = [this](const Shape<4>& s) {
    auto other = condition;
    other.control = normal<float, 4>(s, 5);
    return told(other);
  };
  EXPECT_TRUE(with({2, 20, 6, 10}) == std::nullopt);
  EXPECT_TRUE(with({0, 0, 0, 0}) == errc::bad_input_shape);
  EXPECT_TRUE(with({1, 20, 6, 10}) == errc::bad_input_shape);
  EXPECT_TRUE(with({3, 20, 6, 10}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 19, 6, 10}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 20, 6, 8}) == errc::bad_input_shape);
  EXPECT_TRUE(with({2, 20, 10, 6}) == errc::bad_input_shape);
  auto both = condition;
  both.control = normal<float, 4>({2, 20, 6, 10}, 5);
  both.reference = normal<float, 4>({2, 4, 6, 10}, 6);  // no published model has both
  EXPECT_TRUE(told(both) == errc::bad_input_shape);
}

}  // namespace
