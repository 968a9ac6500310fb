#include <gtest/gtest.h>

#include "dit/io/checkpoint.hpp"
#include "io/bad_files.hpp"
#include "io/temporary.hpp"

namespace {

using namespace dit_test;
using dit::Checkpoint;

std::string tensors(const std::string& names) {
  std::string header;
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "{\"" : ",\"") + names.substr(i, 1) +
              "\":" + entry("F32", "[1]", "[" + std::to_string(4 * i) + "," + std::to_string(4 * i + 4) + "]");
  }
  return file(header + "}", 4 * names.size());
}

/// A folder with shards one (tensors a, b) and two (c), and this index.
struct Sharded {
  TemporaryFolder folder;
  std::filesystem::path index;
  explicit Sharded(const std::string& text) {
    folder.write("one.safetensors", tensors("ab"));
    folder.write("two.safetensors", tensors("c"));
    index = folder.write("model.safetensors.index.json", text);
  }
  std::string code() const {
    return code_of([this] { Checkpoint::open(index); });
  }
};

std::string code_of_index(const std::string& text) { return Sharded(text).code(); }
std::string code_of_map(const std::string& text) { return code_of_index(R"({"weight_map":{)" + text + "}}"); }

const char* const good = R"({"metadata":{"total_size":12,"more":[{"x":1.5}]},"weight_map":{
  "a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})";

TEST(Index, OpensAllShardsFromTheIndexOrItsFolder) {
  const Sharded sharded(good);
  for (const auto& path : {sharded.index, sharded.folder.path()}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.shards().size(), 2U);
    for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(checkpoint.find(name)) << name;
    EXPECT_FALSE(checkpoint.find("d"));
    const auto place = checkpoint.find("c");
    EXPECT_EQ(checkpoint.shards()[place->shard][place->tensor].name, "c");
  }
}

TEST(Index, IsFoundInTheWorkingFolderToo) {
  const Sharded sharded(good);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(sharded.folder.path());
  EXPECT_NO_THROW(Checkpoint::open("model.safetensors.index.json"));
  EXPECT_NO_THROW(Checkpoint::open("."));
  EXPECT_NO_THROW(Checkpoint::open("one.safetensors"));
  std::filesystem::current_path(before);
}

TEST(Index, FolderMayHoldOneFileUnderEitherName) {
  for (const char* name : {"model.safetensors", "diffusion_pytorch_model.safetensors"}) {
    const TemporaryFolder folder;
    folder.write(name, tensors("x"));
    EXPECT_TRUE(Checkpoint::open(folder.path()).find("x")) << name;
  }
  const TemporaryFolder empty;
  EXPECT_EQ(code_of([&] { Checkpoint::open(empty.path()); }), "not_regular_file");
}

TEST(Index, MayNameFilesInFoldersBelow) {
  Sharded sharded(R"({"weight_map":{"x":"deep/er/three.safetensors"}})");
  sharded.folder.write("deep/er/three.safetensors", tensors("x"));
  EXPECT_TRUE(Checkpoint::open(sharded.index).find("x"));
}

TEST(BadIndex, Row34NotJsonOrWithoutWeightMapOrWithValuesThatAreNoStrings) {
  for (const char* text : {"",
                           "x",
                           "[]",
                           "null",
                           "{}",
                           "{\"weight_map\":[]}",
                           "{\"weight_map\":1}",
                           "{\"weight_map\":null}",
                           "{\"weight_map\":\"a\"}",
                           "{\"weight_map\":{\"a\":1}}",
                           "{\"weight_map\":{\"a\":null}}",
                           "{\"weight_map\":{\"a\":[\"one.safetensors\"]}}",
                           "{\"weight_map\":{\"a\":{}}}",
                           "{\"weight_map\":{}",
                           "{\"weight_map\":{},\"weight_map\":{}}",
                           "{\"weight_map\":{}}x",
                           "{\"weight_map\":{\"\xff\":\"one\"}}",
                           "{\"weight_map\":{},\"x\":[[[[[[[[[1]]]]]]]]]}",
                           "{\"weight_map\":{},\"x\":01}",
                           "{\"metadata\":{}}",
                           "{\"weight_map\":{},\"x\":1e999}"}) {
    EXPECT_EQ(code_of_index(text), "bad_index") << text;
  }
  EXPECT_EQ(code_of_map("\"" + std::string(3'000'000, 'n') + "\":\"one.safetensors\""), "bad_index");
}

TEST(BadIndex, Row35PathThatLeadsOutOfTheFolder) {
  for (const char* path :
       {"/etc/passwd", "../one.safetensors", "deep/../../one.safetensors", "deep/..", "..", "C:one", "C:\\\\one",
        "\\\\\\\\server\\\\one", "deep\\\\..\\\\one", "", "one.safetensors\\u0000x", "//one.safetensors"}) {
    EXPECT_EQ(code_of_map("\"a\":\"" + std::string(path) + "\""), "unsafe_path") << path;
  }
}

TEST(BadIndex, Row35LinkThatLeadsOutOfTheFolder) {
  const TemporaryFolder outside;
  outside.write("three.safetensors", tensors("x"));
  Sharded sharded(R"({"weight_map":{"x":"link.safetensors"}})");
  std::filesystem::create_symlink(outside / "three.safetensors", sharded.folder / "link.safetensors");
  EXPECT_EQ(sharded.code(), "unsafe_path");
  EXPECT_TRUE(Checkpoint::open(sharded.index, {.follow_links = true}).find("x"));

  Sharded by_folder(R"({"weight_map":{"x":"deep/three.safetensors"}})");
  std::filesystem::create_directory_symlink(outside.path(), by_folder.folder / "deep");
  EXPECT_EQ(by_folder.code(), "unsafe_path");

  // A folder beside it whose name begins with its name is not inside it.
  const auto beside = std::filesystem::path(sharded.folder.path().string() + "_beside");
  std::filesystem::create_directory(beside);
  std::filesystem::copy_file(outside / "three.safetensors", beside / "three.safetensors");
  std::filesystem::remove(sharded.folder / "link.safetensors");
  std::filesystem::create_symlink(beside / "three.safetensors", sharded.folder / "link.safetensors");
  EXPECT_EQ(sharded.code(), "unsafe_path");
  std::filesystem::remove_all(beside);

  // Links inside the folder are fine.
  std::filesystem::remove(sharded.folder / "link.safetensors");
  sharded.folder.write("three.safetensors", tensors("x"));
  std::filesystem::create_symlink("three.safetensors", sharded.folder / "link.safetensors");
  EXPECT_TRUE(Checkpoint::open(sharded.index).find("x"));
}

TEST(BadIndex, Row36ShardThatIsMissing) {
  EXPECT_EQ(code_of_map(R"("a":"none.safetensors")"), "shard_missing");
  const dit::Error error =
      error_of([] { Checkpoint::open(Sharded(R"({"weight_map":{"a":"none.safetensors"}})").index); });
  EXPECT_NE(std::string_view(error.what()).find("none.safetensors"), std::string_view::npos) << error.what();
  EXPECT_EQ(error.where().tensor, "a");
}

TEST(BadIndex, Row36TensorThatIsNotInItsShard) {
  EXPECT_EQ(code_of_map(R"("a":"two.safetensors")"), "tensor_missing");
  EXPECT_EQ(code_of_map(R"("d":"one.safetensors")"), "tensor_missing");
}

TEST(BadIndex, Row36TensorInTwoShardsOrTwiceInTheIndex) {
  EXPECT_EQ(code_of_map(R"("a":"one.safetensors","a":"one.safetensors")"), "duplicate_name");
  EXPECT_EQ(code_of_map(R"("a":"one.safetensors","\u0061":"one.safetensors")"), "duplicate_name");
  const Sharded sharded(R"({"weight_map":{"a":"one.safetensors","c":"three.safetensors"}})");
  sharded.folder.write("three.safetensors", tensors("bc"));
  EXPECT_EQ(sharded.code(), "duplicate_name");
}

TEST(BadIndex, NameThatNoFileMayHave) {
  EXPECT_EQ(code_of_map(R"("":"one.safetensors")"), "bad_name");
  EXPECT_EQ(code_of_map(R"("a\n":"one.safetensors")"), "bad_name");
  EXPECT_EQ(code_of_map("\"" + std::string(4097, 'n') + R"(":"one.safetensors")"), "bad_name");
}

TEST(BadIndex, ShardThatIsBroken) {
  const Sharded sharded(R"({"weight_map":{"a":"broken.safetensors"}})");
  sharded.folder.write("broken.safetensors", tensors("a").substr(0, tensors("a").size() - 1));
  EXPECT_EQ(sharded.code(), "file_truncated");
  const Sharded folder(R"({"weight_map":{"a":"deep"}})");
  std::filesystem::create_directory(folder.folder / "deep");
  EXPECT_EQ(folder.code(), "not_regular_file");
}

}  // namespace
