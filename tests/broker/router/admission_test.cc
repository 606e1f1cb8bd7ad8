#include "broker/router/admission.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace zerohop {
namespace {

AdmissionLimits Limits(uint64_t requests, uint64_t prompts, uint64_t bytes) {
  return {requests, prompts, bytes};
}

TEST(Admission, LimitsAreExact) {
  Admission admission(Limits(3, 10, 100));
  EXPECT_EQ(admission.Enter(4, 40), std::nullopt);
  EXPECT_EQ(admission.Enter(6, 60), std::nullopt) << "up to the limit, it included";
  EXPECT_NE(admission.Enter(1, 0), std::nullopt);
  EXPECT_NE(admission.Enter(0, 1), std::nullopt);
  EXPECT_EQ(admission.Enter(0, 0), std::nullopt);
  EXPECT_NE(admission.Enter(0, 0), std::nullopt) << "the third was the last request";
  EXPECT_EQ(admission.requests(), 3u);
}

TEST(Admission, RefusalSaysWhatIsFullAndWhichFlagRaisesIt) {
  Admission requests(Limits(1, 100, 100));
  ASSERT_EQ(requests.Enter(1, 1), std::nullopt);
  EXPECT_EQ(requests.Enter(1, 1),
            "The queue is full: 1 requests are queued or running, this request adds 1, and the limit is 1 "
            "(--max-queue)");
  Admission prompts(Limits(10, 5, 100));
  ASSERT_EQ(prompts.Enter(4, 1), std::nullopt);
  EXPECT_EQ(prompts.Enter(2, 1),
            "The queue is full: 4 prompts are queued or running, this request adds 2, and the limit is 5 "
            "(--max-queue-prompts)");
  Admission bytes(Limits(10, 100, 50));
  ASSERT_EQ(bytes.Enter(1, 30), std::nullopt);
  EXPECT_EQ(bytes.Enter(1, 21),
            "The queue is full: 30 bytes are queued or running, this request adds 21, and the limit is 50 "
            "(--max-queue-mib)");
}

TEST(Admission, RefusedRequestLeavesNothingBehind) {
  Admission admission(Limits(10, 5, 50));
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(admission.Enter(6, 1), std::nullopt);
    EXPECT_NE(admission.Enter(1, 51), std::nullopt);
  }
  EXPECT_EQ(admission.requests(), 0u);
  EXPECT_EQ(admission.Enter(5, 50), std::nullopt);
}

TEST(Admission, WhatLeavesMakesRoom) {
  Admission admission(Limits(1, 5, 50));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(admission.Enter(5, 50), std::nullopt);
    admission.Leave(5);
    admission.ReleaseBytes(50);
  }
  EXPECT_EQ(admission.requests(), 0u);
}

TEST(Admission, ThreadsTogetherNeverGoBeyondTheLimit) {
  Admission admission(Limits(4, 1000, 1000));
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        if (admission.Enter(1, 1)) continue;
        const int now = ++inside;
        int before = most;
        while (before < now && !most.compare_exchange_weak(before, now)) {
        }
        --inside;
        admission.Leave(1);
        admission.ReleaseBytes(1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most, 4);
  EXPECT_EQ(admission.requests(), 0u);
}

}  // namespace
}  // namespace zerohop
