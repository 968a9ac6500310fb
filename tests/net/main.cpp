/// net_TYPE          a line for every case with weights of the type, on the instruction set that DIT_ISA names
/// net_TYPE --isas   the instruction sets of this machine

#include <algorithm>
#include <cstdio>
#include <exception>
#include <set>

#include "net.hpp"

namespace net {
namespace {

std::vector<void (*)()>& all_cases() {
  static std::vector<void (*)()> cases;
  return cases;
}

}  // namespace

void add_cases(void (*cases)()) { all_cases().push_back(cases); }

template <class R>
void print(const std::string& name, int threads, Index batch, const std::vector<R>& result) {
  static std::set<std::string> names;
  const std::string what = name + " " + std::to_string(threads) + " " + std::to_string(batch);
  if (!names.insert(what).second) throw std::runtime_error(what + ": there are two cases of that name");
  if (!std::all_of(result.begin(), result.end(), [](R x) { return std::isfinite(x); }))
    throw std::runtime_error(what + ": not all numbers are finite");
  const auto same = std::count(result.begin(), result.end(), result.empty() ? R() : result.front());
  if (result.empty() || (result.size() > 3 && same == static_cast<std::ptrdiff_t>(result.size())))
    throw std::runtime_error(what + ": nothing was computed");
  Hash hash;
  hash.add(result.data(), result.size() * sizeof(R));
  std::printf("%s %zu %016llx\n", what.c_str(), result.size(), static_cast<unsigned long long>(hash.value()));
}
template void print(const std::string&, int, Index, const std::vector<float>&);
template void print(const std::string&, int, Index, const std::vector<double>&);

}  // namespace net

int main(int argc, char** argv) try {
  if (argc > 1 && std::string_view(argv[1]) == "--isas") {
    for (const dit::Isa isa : dit::all_isas)
      if (dit::supports(isa)) std::printf("%s\n", std::string(name(isa)).c_str());
  } else {
    for (const auto cases : net::all_cases()) cases();
  }
} catch (const std::exception& error) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
