/// For libFuzzer:
///   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude -Itests -isystem <eigen>
///     tests/fuzz/safetensors_fuzz.cpp -o fuzz && ./fuzz -max_len=4096 corpus/

#include <cstddef>
#include <cstdint>

#include "fuzz/targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  dit_test::fuzz_file(bytes);
  dit_test::fuzz_model(bytes);
  return 0;
}
