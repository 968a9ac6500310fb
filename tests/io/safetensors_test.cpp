#include "dit/io/safetensors.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <clocale>
#include <locale>

#include "io/bad_files.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::Safetensors;

/// Opens every bad file of a row, from memory and, where it is small, from a disk; with a message that says where.
void expect_refused(int row) {
  const TemporaryFolder folder;
  int count = 0;
  for (const BadFile& bad : bad_files()) {
    if (bad.row != row) continue;
    SCOPED_TRACE(bad.what.substr(0, 200));
    ++count;
    const dit::Error error = error_of([&] { Safetensors(bad.open()); });
    EXPECT_EQ(name(error.code()), name(bad.code)) << error.what();
    EXPECT_FALSE(error.where().file.empty());
    EXPECT_TRUE(error.where().offset || bad.code == errc::duplicate_name) << error.what();
    for (const char c : std::string_view(error.what()))
      EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    EXPECT_LT(std::string_view(error.what()).size(), 600U);

    const auto source = bad.open();
    if (source->size() > 1'000'000) continue;
    std::string content(source->size(), '\0');
    source->read(0, content.data(), content.size());
    const auto path = folder.write("bad.safetensors", content);
    for (const bool mapped : {false, true}) {
      EXPECT_EQ(code_of([&] { Safetensors::open(path, {.mapped = mapped}); }), name(bad.code));
    }
  }
  EXPECT_GT(count, 0) << "no file for this row";
}

void expect_opens(int row) {
  for (const BadFile& good : good_files()) {
    if (good.row != row) continue;
    EXPECT_NO_THROW(Safetensors(good.open())) << good.what;
  }
}

TEST(BadFile, Row01PathThatIsMissingAFolderAFifoOrADevice) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of([&] { Safetensors::open(folder / "missing"); }), "io_open");
  EXPECT_EQ(code_of([&] { Safetensors::open(folder / "missing" / "deeper"); }), "io_open");
  EXPECT_EQ(code_of([&] { Safetensors::open(folder.write("file", "x") / "below"); }), "io_open");
  EXPECT_EQ(code_of([&] { Safetensors::open(folder.path() / std::string(5000, 'n')); }), "io_open");
  EXPECT_EQ(code_of([&] { Safetensors::open(""); }), "io_open");
  EXPECT_EQ(code_of([&] { Safetensors::open(folder.path()); }), "not_regular_file");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { Safetensors::open(folder / "fifo"); }), "not_regular_file");
  EXPECT_EQ(code_of([&] { Safetensors::open("/dev/zero"); }), "not_regular_file");
  EXPECT_EQ(code_of([&] { Safetensors::open("/dev/null"); }), "not_regular_file");
}
TEST(BadFile, Row02FileThatIsTooSmall) { expect_refused(2); }
TEST(BadFile, Row03HeaderLengthBeyondTheFile) { expect_refused(3); }
TEST(BadFile, Row04HeaderThatIsTooLarge) { expect_refused(4); }
TEST(BadFile, Row05HeaderThatIsNotUtf8) { expect_refused(5); }
TEST(BadFile, Row06HeaderThatDoesNotBeginWithABrace) { expect_refused(6); }
TEST(BadFile, Row07BlanksAfterTheHeaderAreFine) { expect_opens(7); }
TEST(BadFile, Row08HeaderThatIsNotJson) { expect_refused(8); }
TEST(BadFile, Row09NestingBomb) { expect_refused(9); }
TEST(BadFile, Row10TooManyTensors) { expect_refused(10); }
TEST(BadFile, Row11DuplicateName) { expect_refused(11); }
TEST(BadFile, Row12DuplicateField) { expect_refused(12); }
TEST(BadFile, Row13BadMetadata) {
  expect_refused(13);
  expect_opens(13);
}
TEST(BadFile, Row14BadName) {
  expect_refused(14);
  expect_opens(14);
}
TEST(BadFile, Row15EntryThatIsNotAnObject) { expect_refused(15); }
TEST(BadFile, Row16MissingField) { expect_refused(16); }
TEST(BadFile, Row17UnknownFieldIsRefusedUnlessAllowed) {
  expect_refused(17);
  const std::string known = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8])";
  for (const char* more : {R"(,"strides":[1,{"a":[2]}]})", R"(,"x":null})", R"(,"x":"y","z":1e5})"}) {
    const auto source = [&] { return std::make_unique<OwningSource>(file(R"({"a":)" + known + more + "}", 8)); };
    EXPECT_EQ(Safetensors(source(), {.unknown_fields = true}).size(), 1U);
    EXPECT_EQ(code_of([&] { Safetensors(source(), {}); }), "unknown_field");
  }
}
TEST(BadFile, Row18UnknownDtype) { expect_refused(18); }
TEST(BadFile, Row19DtypeWithoutArithmeticIsListedButNotRead) {
  int count = 0;
  for (const BadFile& good : good_files()) {
    if (good.row != 19) continue;
    ++count;
    const Safetensors file(good.open());
    ASSERT_EQ(file.size(), 1U);
    EXPECT_EQ(file[0].name, "a");
    float values[8];
    EXPECT_EQ(code_of([&] { file.read_rows(file[0], 0, 1, values); }), "unsupported_dtype");
    EXPECT_EQ(code_of([&] { file.read<double>(file[0]); }), "unsupported_dtype");
  }
  EXPECT_EQ(count, 3);
}
TEST(BadFile, Row20BadShape) { expect_refused(20); }
TEST(BadFile, Row21NumberThatIsNoCanonicalInteger) { expect_refused(21); }
TEST(BadFile, Row22RankAbove8) { expect_refused(22); }
TEST(BadFile, Row23SizeOverflow) { expect_refused(23); }
TEST(BadFile, Row24OffsetsThatAreNoPair) { expect_refused(24); }
TEST(BadFile, Row25OffsetsThatEndBeforeTheyBegin) { expect_refused(25); }
TEST(BadFile, Row26DataThatIsCutOff) { expect_refused(26); }
TEST(BadFile, Row27ShapeThatDoesNotFitTheOffsets) { expect_refused(27); }
TEST(BadFile, Row28OverlappingTensors) { expect_refused(28); }
TEST(BadFile, Row29GapsBetweenTensors) { expect_refused(29); }
TEST(BadFile, Row30TrailingBytes) { expect_refused(30); }
TEST(BadFile, Row31ScalarsAndTensorsWithoutElementsAreFine) {
  expect_opens(31);
  const Safetensors file(std::make_unique<OwningSource>(one("F32", "[2,0]", "[0,0]", 0)));
  EXPECT_EQ(file[0].shape, (std::vector<std::uint64_t>{2, 0}));
  EXPECT_TRUE(file.read<float>(file[0]).empty());
}

TEST(BadFile, SaysFileTensorAndByte) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.safetensors", one("F32", "[3]", "[0,8]", 8));
  const dit::Error error = error_of([&] { Safetensors::open(path); });
  EXPECT_EQ(error.where().file, path.string());
  EXPECT_EQ(error.where().tensor, "a");
  const std::string_view until = R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]})";
  EXPECT_EQ(error.where().offset, 8 + until.size() - 1) << error.what();  // the brace that ends the entry
}

TEST(Safetensors, ListsTensorsByName) {
  const std::string header = R"({"b":)" + entry("F16", "[2,3]", "[8,20]") + R"(,"a":)" +
                             entry("F64", "[]", "[0,8]") + R"(,"__metadata__":{"format":"pt","note":"\u00e9\n"}})";
  const Safetensors file(std::make_unique<OwningSource>(dit_test::file(header, 20)));
  ASSERT_EQ(file.size(), 2U);
  EXPECT_EQ(file[0].name, "a");
  EXPECT_EQ(file[1].name, "b");
  EXPECT_EQ(file[1].dtype, dit::DType::F16);
  EXPECT_EQ(file[1].shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(file[1].begin, 8U);
  EXPECT_EQ(file[1].end, 20U);
  EXPECT_EQ(file.find("b"), 1U);
  EXPECT_EQ(file.find("c"), std::nullopt);
  EXPECT_EQ(file.find(""), std::nullopt);
  EXPECT_EQ(file.metadata(), (dit::Metadata{{"format", "pt"}, {"note", "\xc3\xa9\n"}}));
}

TEST(Safetensors, TakesAsManyTensorsAsItSays) {
  const Safetensors file(many_tensors(dit::max_tensors - 1));
  EXPECT_EQ(file.size(), dit::max_tensors);
  EXPECT_EQ(file[123'456].name, "00123456");
  EXPECT_EQ(file.find("z"), dit::max_tensors - 1);
}

template <class Stored>
std::string packed(std::initializer_list<double> values) {
  std::string bytes;
  for (const double value : values) {
    Stored stored;
    dit::convert(&value, &stored, 1);
    bytes.append(reinterpret_cast<const char*>(&stored), sizeof(stored));
  }
  return bytes;
}

TEST(Safetensors, ReadsEveryRealDtypeAtAnyAlignment) {
  const std::initializer_list<double> values{1, -2.5, 0.0078125, 65504, 0, -0.0};
  for (const auto& [dtype, bytes] : {std::pair<std::string, std::string>{"F32", packed<float>(values)},
                                     {"F64", packed<double>(values)},
                                     {"F16", packed<dit::f16>(values)}}) {
    for (std::size_t pad = 0; pad < 9; ++pad) {  // a tensor of odd bytes before it
      const std::string n = std::to_string(pad), end = std::to_string(pad + bytes.size());
      const std::string header = R"({"a":)" + entry("U8", "[" + n + "]", "[0," + n + "]") + R"(,"b":)" +
                                 entry(dtype, "[3,2]", "[" + n + "," + end + "]") + "}";
      const Safetensors file(
          std::make_unique<OwningSource>(length_bytes(header.size()) + header + std::string(pad, 'x') + bytes));
      EXPECT_EQ(file.read<float>(file[1]), std::vector<float>(values.begin(), values.end())) << dtype;
      EXPECT_EQ(file.read<double>(file[1]), std::vector<double>(values.begin(), values.end())) << dtype;
      double middle[2];
      file.read_rows(file[1], 1, 1, middle);
      EXPECT_EQ(middle[0], 0.0078125);
      EXPECT_EQ(middle[1], 65504);
    }
  }
}

TEST(Safetensors, ReadsBf16AsTheUpperHalfOfAFloat) {
  const std::string header = R"({"a":)" + entry("BF16", "[65536]", "[0,131072]") + "}";
  std::string data;
  for (int code = 0; code < 65536; ++code) data += {static_cast<char>(code & 255), static_cast<char>(code >> 8)};
  const Safetensors file(std::make_unique<OwningSource>(length_bytes(header.size()) + header + data));
  const auto values = file.read<float>(file[0]);
  for (std::uint32_t code = 0; code < 65536; ++code) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(values[code]), code << 16) << code;
  }
}

TEST(Safetensors, ReadsEveryF16Code) {
  const std::string header = R"({"a":)" + entry("F16", "[65536]", "[0,131072]") + "}";
  std::string data;
  for (int code = 0; code < 65536; ++code) data += {static_cast<char>(code & 255), static_cast<char>(code >> 8)};
  const Safetensors file(std::make_unique<OwningSource>(length_bytes(header.size()) + header + data));
  const auto values = file.read<double>(file[0]);
  for (int code = 0; code < 65536; ++code) {
    const int exponent = code >> 10 & 31, fraction = code & 1023;
    const double sign = (code & 32768) != 0 ? -1 : 1;
    const double value = values[static_cast<std::size_t>(code)];
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0);
      EXPECT_EQ(std::isinf(value), fraction == 0);
    } else {
      ASSERT_EQ(value,
                sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25)));
    }
    EXPECT_EQ(std::signbit(value), sign < 0) << code;
  }
}

TEST(Safetensors, ReadsLargeTensorsInBlocks) {
  constexpr std::size_t n = 1'300'003;  // more than one block of every size, ragged
  std::string data(n * 2, '\0');
  for (std::size_t i = 0; i < n; ++i) data[2 * i + 1] = static_cast<char>(0x3c + (i % 7));  // 1, 2, 4, ... as F16
  const std::string size = std::to_string(n),
                    header = R"({"a":)" + entry("F16", "[" + size + "]", "[0," + std::to_string(2 * n) + "]") + "}";
  const Safetensors file(std::make_unique<OwningSource>(length_bytes(header.size()) + header + data));
  const auto values = file.read<float>(file[0]);
  ASSERT_EQ(values.size(), n);
  for (std::size_t i = 0; i < n; ++i) {
    const int code = 0x3c + static_cast<int>(i % 7);
    ASSERT_EQ(values[i], std::ldexp(1.0F + static_cast<float>(code & 3) / 4, (code >> 2) - 15)) << i;
  }
}

TEST(Safetensors, RefusesRowsBeyondTheTensor) {
  const Safetensors file(std::make_unique<OwningSource>(one("F32", "[2,3]", "[0,24]", 24)));
  float values[6];
  EXPECT_NO_THROW(file.read_rows(file[0], 0, 2, values));
  EXPECT_NO_THROW(file.read_rows(file[0], 2, 0, values));
  for (const auto& [first, count] :
       {std::pair<std::uint64_t, std::uint64_t>{0, 3}, {2, 1}, {3, 0}, {1, ~std::uint64_t{0}}}) {
    EXPECT_EQ(code_of([&, f = first, c = count] { file.read_rows(file[0], f, c, values); }), "bad_option");
  }
  std::byte bytes[24];
  EXPECT_NO_THROW(file.read_bytes(file[0], 4, 20, bytes));
  EXPECT_EQ(code_of([&] { file.read_bytes(file[0], 5, 20, bytes); }), "bad_option");
  EXPECT_EQ(code_of([&] { file.read_bytes(file[0], ~std::uint64_t{0}, 2, bytes); }), "bad_option");
}

/// As German writes numbers: 1.234,5
struct German : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(Safetensors, ReadsTheSameInEveryLocale) {
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new German));
  const std::string c_before = std::setlocale(LC_ALL, nullptr);
  for (const char* other : {"de_DE.UTF-8", "tr_TR.UTF-8", "C"}) {
    std::setlocale(LC_ALL, other);  // whichever of them this machine has
    const Safetensors file(std::make_unique<OwningSource>(one("F32", "[1234,5]", "[0,24680]", 24680)));
    EXPECT_EQ(file[0].shape, (std::vector<std::uint64_t>{1234, 5}));
    EXPECT_EQ(code_of([&] { Safetensors(std::make_unique<OwningSource>(one("F32", "[2.0]", "[0,8]", 8))); }),
              "bad_integer");
    EXPECT_EQ(code_of([&] { Safetensors(std::make_unique<OwningSource>(one("F32", "[1234,5]", "[0,8]", 8))); }),
              "size_mismatch");
    const dit::Error error =
        error_of([] { Safetensors(std::make_unique<OwningSource>(one("F32", "[1234,5]", "[0,8]", 8))); });
    EXPECT_NE(std::string_view(error.what()).find("[1234, 5]"), std::string_view::npos) << error.what();
  }
  std::setlocale(LC_ALL, c_before.c_str());
  std::locale::global(before);
}

TEST(DType, NamesAndBitsAreTheFormats) {
  EXPECT_EQ(dit::dtype_from_name("BF16"), dit::DType::BF16);
  EXPECT_EQ(dit::dtype_from_name("bf16"), std::nullopt);
  for (int i = 0; i < 22; ++i) {
    const auto dtype = static_cast<dit::DType>(i);
    EXPECT_EQ(dit::dtype_from_name(name(dtype)), dtype);
  }
  EXPECT_EQ(bits(dit::DType::F4), 4U);
  EXPECT_EQ(bits(dit::DType::C64), 64U);
  EXPECT_EQ(name(dit::DType::U64), "U64");
}

}  // namespace
