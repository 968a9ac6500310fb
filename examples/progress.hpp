#pragma once
/// A progress bar on a terminal; silent where standard error is a file or a pipe.

#include <cstdio>

#if defined(_WIN32)
#include <io.h>
#define DIT_EXAMPLE_IS_TERMINAL (_isatty(2) != 0)
#else
#include <unistd.h>
#define DIT_EXAMPLE_IS_TERMINAL (isatty(2) != 0)
#endif

class Progress {
 public:
  Progress(const char* label, int total) : label_(label), total_(total) {}

  void show(int done) const {
    if (!on_terminal_) return;
    constexpr int width = 40;
    const int filled = width * done / total_;
    std::fprintf(stderr, "\r%s [", label_);
    for (int i = 0; i < width; ++i) std::fputc(i < filled ? '=' : i == filled ? '>' : ' ', stderr);
    std::fprintf(stderr, "] %d/%d%s", done, total_, done == total_ ? "\n" : "");
    std::fflush(stderr);
  }

 private:
  const char* label_;
  int total_;
  bool on_terminal_ = DIT_EXAMPLE_IS_TERMINAL;
};
