#pragma once
/// Captions under the pictures of the example programs: small letters of 5 x 8 dots.

#include <array>
#include <cstdint>
#include <string_view>

#include "picture.hpp"

/// The letters a to z: eight rows from the top, five bits each, the leftmost the highest. The last row is below the
/// line.
inline constexpr std::array<std::array<std::uint8_t, 8>, 26> letters{{
    {0, 0, 14, 1, 15, 17, 15, 0},   {16, 16, 22, 25, 17, 17, 30, 0}, {0, 0, 14, 16, 16, 17, 14, 0},
    {1, 1, 13, 19, 17, 17, 15, 0},  {0, 0, 14, 17, 31, 16, 14, 0},   {6, 9, 8, 28, 8, 8, 8, 0},
    {0, 0, 15, 17, 17, 15, 1, 14},  {16, 16, 22, 25, 17, 17, 17, 0}, {4, 0, 12, 4, 4, 4, 14, 0},
    {2, 0, 6, 2, 2, 2, 18, 12},     {16, 16, 18, 20, 24, 20, 18, 0}, {12, 4, 4, 4, 4, 4, 14, 0},
    {0, 0, 26, 21, 21, 17, 17, 0},  {0, 0, 22, 25, 17, 17, 17, 0},   {0, 0, 14, 17, 17, 17, 14, 0},
    {0, 0, 30, 17, 17, 30, 16, 16}, {0, 0, 13, 19, 17, 15, 1, 1},    {0, 0, 22, 25, 16, 16, 16, 0},
    {0, 0, 14, 16, 14, 1, 30, 0},   {8, 8, 28, 8, 8, 9, 6, 0},       {0, 0, 17, 17, 17, 19, 13, 0},
    {0, 0, 17, 17, 17, 10, 4, 0},   {0, 0, 17, 17, 21, 21, 10, 0},   {0, 0, 17, 10, 4, 10, 17, 0},
    {0, 0, 17, 17, 17, 15, 1, 14},  {0, 0, 31, 2, 4, 8, 31, 0},
}};
inline constexpr std::array<std::uint8_t, 8> comma{0, 0, 0, 0, 0, 4, 4, 8}, period{0, 0, 0, 0, 0, 0, 4, 0};

/// Dots from one letter to the next.
inline constexpr int letter_pitch = 6;

/// One line of text, its dots `zoom` pixels wide. What is no letter, comma or period is left blank.
inline void write_line(Canvas& canvas, int left, int top, std::string_view text, int zoom, const Colour& ink) {
  for (const char c : text) {
    const char low = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const auto* glyph = low >= 'a' && low <= 'z' ? &letters[static_cast<std::size_t>(low - 'a')]
                        : low == ','             ? &comma
                        : low == '.'             ? &period
                                                 : nullptr;
    const int at = left;
    left += letter_pitch * zoom;
    if (glyph == nullptr) continue;
    for (int y = 0; y < 8 * zoom; ++y)
      for (int x = 0; x < 5 * zoom; ++x)
        if ((*glyph)[static_cast<std::size_t>(y / zoom)] >> (4 - x / zoom) & 1) {
          canvas.set(at + x, top + y, ink);
        }
  }
}
