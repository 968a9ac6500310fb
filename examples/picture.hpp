#pragma once
/// What the example programs share to show their images: a canvas, a clean enlargement, a PNG.

#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

struct Colour {
  double r, g, b;
};

inline Colour mix(const Colour& a, const Colour& b, double t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

/// An RGB picture of 8-bit samples, row by row.
class Canvas {
 public:
  Canvas(int width, int height, const Colour& background)
      : width_(width),
        height_(height),
        pixels_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3) {
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) set(x, y, background);
  }

  void set(int x, int y, const Colour& colour) {
    std::uint8_t* p =
        &pixels_[(static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x)) *
                 3];
    const std::array<double, 3> channels{colour.r, colour.g, colour.b};
    for (std::size_t i = 0; i < 3; ++i) {
      p[i] = static_cast<std::uint8_t>(std::lround(255 * std::clamp(channels[i], 0.0, 1.0)));
    }
  }

  /// Throws std::runtime_error with libpng's words if the file cannot be written.
  void write(const std::string& path) const {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width_);
    image.height = static_cast<png_uint_32>(height_);
    image.format = PNG_FORMAT_RGB;
    if (png_image_write_to_file(&image, path.c_str(), 0, pixels_.data(), 0, nullptr) == 0) {
      throw std::runtime_error("cannot write " + path + ": " + image.message);
    }
  }

 private:
  int width_, height_;
  std::vector<std::uint8_t> pixels_;
};

/// Draws a grey image [height, width], 0 paper to 1 ink, `zoom` times enlarged, by cubic (Catmull-Rom)
/// interpolation, with one pixel of paper around it, so that a stroke at the edge has its end.
inline void draw_enlarged(Canvas& canvas, int left, int top, const float* image, int height, int width, int zoom,
                          const Colour& paper, const Colour& ink) {
  const auto weights = [](double t) {
    return std::array<double, 4>{t * (-0.5 + t * (1 - 0.5 * t)), 1 + t * t * (-2.5 + 1.5 * t),
                                 t * (0.5 + t * (2 - 1.5 * t)), t * t * (-0.5 + 0.5 * t)};
  };
  const auto pixel = [&](int y, int x) {  // beyond its edges the image goes on as paper
    return y < 0 || x < 0 || y >= height || x >= width ? 0.0 : static_cast<double>(image[y * width + x]);
  };
  for (int y = 0; y < (height + 2) * zoom; ++y) {
    const double v = (y + 0.5) / zoom - 1.5;
    const int row = static_cast<int>(std::floor(v));
    const auto wy = weights(v - row);
    for (int x = 0; x < (width + 2) * zoom; ++x) {
      const double u = (x + 0.5) / zoom - 1.5;
      const int column = static_cast<int>(std::floor(u));
      const auto wx = weights(u - column);
      double value = 0;
      for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 4; ++i)
          value += wy[static_cast<std::size_t>(j)] * wx[static_cast<std::size_t>(i)] *
                   pixel(row - 1 + j, column - 1 + i);
      canvas.set(left + x, top + y, mix(paper, ink, std::clamp(value, 0.0, 1.0)));
    }
  }
}
