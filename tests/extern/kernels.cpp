// A program that has its kernels from the target dit_kernels, and all else from headers.

#include <vector>

std::vector<float> kernels(int seed);

int main() { return kernels(1) == kernels(1) && kernels(1) != kernels(2) ? 0 : 1; }
