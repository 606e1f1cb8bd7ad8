#include "broker/front/request_id.h"

#include <gtest/gtest.h>

#include <mutex>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace zerohop {
namespace {

TEST(RequestId, IsAUuidOfVersionFour) {
  const std::regex uuid4("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");
  for (int i = 0; i < 1000; ++i) {
    const std::string id(NewRequestId().view());
    EXPECT_TRUE(std::regex_match(id, uuid4)) << id;
  }
}

TEST(RequestId, NoTwoAreEqualOnAnyThread) {
  std::mutex mutex;
  std::set<std::string> ids;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        const std::string id(NewRequestId().view());
        std::lock_guard lock(mutex);
        ids.insert(id);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 4000u);
}

TEST(RequestId, EveryFreeDigitVaries) {
  std::vector<std::set<char>> seen(36);
  for (int i = 0; i < 2000; ++i) {
    const std::string id(NewRequestId().view());
    for (size_t d = 0; d < id.size(); ++d) seen[d].insert(id[d]);
  }
  for (size_t d = 0; d < seen.size(); ++d) {
    const size_t expected = d == 8 || d == 13 || d == 14 || d == 18 || d == 23 ? 1 : d == 19 ? 4 : 16;
    EXPECT_EQ(seen[d].size(), expected) << d;
  }
}

}  // namespace
}  // namespace zerohop
