/// How many processors there are for us, where a container gives only a part of them.

#include "dit/core/cores.hpp"

#include <gtest/gtest.h>

#include <string>

#include "io/temporary.hpp"

namespace {

using dit::detail::cores_of_control_groups;
using dit::detail::cores_of_quota;

TEST(Cores, OfAQuotaAreRoundedUp) {
  EXPECT_EQ(cores_of_quota("100000 100000\n"), 1);
  EXPECT_EQ(cores_of_quota("100001 100000\n"), 2);
  EXPECT_EQ(cores_of_quota("150000 100000"), 2);
  EXPECT_EQ(cores_of_quota("200000 100000\n"), 2);
  EXPECT_EQ(cores_of_quota("1000 100000\n"), 1);
  EXPECT_EQ(cores_of_quota("400000\n 50000\n"), 8);  // v1: two files
  EXPECT_EQ(cores_of_quota("9223372036854775807 1\n"), 1 << 20);
}

TEST(Cores, OfNoQuotaAreNone) {
  for (const char* text : {"max 100000\n", "max", "", " ", "\n", "-1\n 100000\n", "0 100000", "100000", "100000 ",
                           "100000 0", "100000 -5", "100000 max", "100000x 5", "99999999999999999999 100000",
                           "100000 99999999999999999999", "nonsense"}) {
    EXPECT_EQ(cores_of_quota(text), 0) << '"' << text << '"';
  }
}

class ControlGroups : public testing::Test {
 protected:
  void write(const std::string& file, std::string_view text) { folder_.write(file, text); }
  int cores(const std::string& groups) const { return cores_of_control_groups(groups, root_); }

  dit_test::TemporaryFolder folder_;
  std::string root_ = folder_.path().string();
};

TEST_F(ControlGroups, OfTheSecondVersionAreReadUpToTheRoot) {
  write("a/b/cpu.max", "400000 100000\n");
  EXPECT_EQ(cores("0::/a/b\n"), 4);
  EXPECT_EQ(cores("0::/a/b/c/d\n"), 4) << "of the group around";
  EXPECT_EQ(cores("0::/a\n"), 0);
  EXPECT_EQ(cores("0::/\n"), 0);
  write("a/cpu.max", "250000 100000\n");
  EXPECT_EQ(cores("0::/a/b\n"), 3) << "the least";
  write("a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(cores("0::/a/b\n"), 3);
  write("cpu.max", "100000 100000\n");  // a container's own root
  EXPECT_EQ(cores("0::/a/b\n"), 1);
  EXPECT_EQ(cores("0::/\n"), 1);
  EXPECT_EQ(cores("0::/elsewhere/altogether\n"), 1);
}

TEST_F(ControlGroups, OfTheFirstVersionAreThoseOfTheProcessors) {
  write("cpu/docker/x/cpu.cfs_quota_us", "300000\n");
  write("cpu/docker/x/cpu.cfs_period_us", "100000\n");
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cores("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/docker/x\n"), 3);
  EXPECT_EQ(cores("4:cpuacct,cpu:/docker/x\n0::/\n"), 3);
  EXPECT_EQ(cores("4:cpuset:/docker/x\n3:cpuacct:/docker/x\n"), 0);
  EXPECT_EQ(cores("4:cpu:/\n"), 0);
}

TEST_F(ControlGroups, ThatAreNotAsExpectedHaveNoQuota) {
  for (const char* groups : {"", "\n", "\n\n", ":", "::", "0::", "0:", "nonsense", "0::\n0:\n", "0::no/slash\n"}) {
    EXPECT_EQ(cores(groups), 0) << groups;
  }
  write("cpu.max", "100000 100000\n");
  EXPECT_EQ(cores("nonsense\n0::/\n"), 1);
}

TEST(Cores, AreAtLeastOne) { EXPECT_GE(dit::available_cores(), 1); }

}  // namespace
