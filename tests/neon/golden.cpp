/// A whole small model in every type of weights, on the instruction set that this machine should be found to have:
/// run.sh builds it for 64-bit ARM and runs it on several machines that it emulates.

#include "dit/kernels/kernels.hpp"
#include "models/models.hpp"

namespace {

using namespace dit;
using namespace support;

TEST(Neon, IsFoundAsFarAsTheMachineHasIt) {
  const char* const expected = std::getenv("DIT_EXPECTED_ISA");
  ASSERT_NE(expected, nullptr);
  EXPECT_EQ(name(best_isa()), expected);
  const bool dot = best_isa() != Isa::neon, mmla = best_isa() == Isa::neonmmla;
  EXPECT_EQ(kernels<float>().name, "neon");
  EXPECT_EQ(kernels<bf16>().name, mmla ? "neonmmla" : "neon");
  EXPECT_EQ(kernels<int8>().name, mmla ? "neonmmla" : dot ? "neondot" : "neon");
}

template <class T>
Distance of_golden() {
  const auto model = golden_model<DiT<tiny, T>>("dit_tiny");
  const Golden io("dit_tiny_io");
  Workspace workspace(2);
  const auto out =
      model(io.tensor<float, 4>("wide.x"), io.values<float>("wide.t"), io.integers("wide.y"), workspace);
  return distance(out, io.tensor<double, 4>("wide.out64"));
}
TEST(Neon, RunsTheOfficialModelInFloat) { EXPECT_LE(of_golden<float>().nmse, 1e-9); }
TEST(Neon, RunsTheOfficialModelInBf16) { EXPECT_LE(of_golden<bf16>().nmse, 2e-3); }
TEST(Neon, RunsTheOfficialModelInInt8) { EXPECT_LE(of_golden<int8>().nmse, 2e-2); }

}  // namespace
