#pragma once
/// The command line of the example programs: checks of values, and one line on stderr for everything that goes
/// wrong.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <utility>

namespace arguments {

inline CLI::Validator not_nan() {
  return {[](std::string& text) { return text.find("nan") == std::string::npos ? "" : text + " is not a number"; },
          ""};
}

inline CLI::Validator whole() {
  return {[](std::string& text) {
            return text.find_first_not_of("0123456789") == std::string::npos ? "" : text + " is not a whole number";
          },
          ""};
}

/// A file to write: its folder is there.
inline CLI::Validator in_a_folder() {
  return {[](std::string& path) {
            const auto folder = std::filesystem::path(path).parent_path();
            return folder.empty() || std::filesystem::is_directory(folder) ? ""
                                                                           : folder.string() + " is not a folder";
          },
          "FILE"};
}

inline CLI::Validator multiple_of(int n) {
  return {[n](std::string& text) {
            int value = 0;
            return CLI::detail::lexical_cast(text, value) && value % n == 0
                       ? ""
                       : text + " is not a multiple of " + std::to_string(n);
          },
          std::string("*").append(std::to_string(n))};
}

/// Parses, then run(). The exit code: 0; 2 for an option that is wrong; 1 for what went wrong later. Nothing is
/// thrown.
template <class Run>
int run_program(CLI::App& app, int argc, const char* const* argv, Run&& run) {
  try {
    app.parse(argc, argv);
    std::forward<Run>(run)();
    return 0;
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return 0;
  } catch (const CLI::ParseError& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), error.what());
    return 1;
  }
}

}  // namespace arguments
