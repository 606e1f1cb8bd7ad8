#include "shm/lifeline_word.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "tests/support/lane_pair.h"

namespace zerohop {
namespace {

// A process that holds the word until something happens to it.
pid_t ForkHolder(std::atomic<uint32_t>* word, void (*then)()) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  const LifelineHolder holder(word);
  then();
  ::_exit(0);
}

void WaitForEnd(pid_t pid) {
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(LifelineWord, KernelMarksItWhenItsHolderIsKilled) {
  const LanePair lane;
  const LifelineReader reader = lane.broker->lifeline();
  const pid_t pid = ForkHolder(lane.replica.lifeline_word(), [] { ::pause(); });
  while (reader.value() == 0) std::this_thread::yield();
  EXPECT_FALSE(LifelineReader::IsBroken(reader.value()));
  ::kill(pid, SIGKILL);
  WaitForEnd(pid);
  EXPECT_TRUE(LifelineReader::IsBroken(reader.value()));
}

TEST(LifelineWord, KernelMarksItWhenItsHolderExitsWithoutLettingGo) {
  const LanePair lane;
  WaitForEnd(ForkHolder(lane.replica.lifeline_word(), [] { ::_exit(0); }));
  EXPECT_TRUE(LifelineReader::IsBroken(lane.broker->lifeline().value()));
}

TEST(LifelineWord, HolderThatIsStoppedIsNotDead) {
  const LanePair lane;
  const LifelineReader reader = lane.broker->lifeline();
  const pid_t pid = ForkHolder(lane.replica.lifeline_word(), [] { ::pause(); });
  while (reader.value() == 0) std::this_thread::yield();
  ::kill(pid, SIGSTOP);
  ASSERT_EQ(::waitpid(pid, nullptr, WUNTRACED), pid);
  EXPECT_FALSE(LifelineReader::IsBroken(reader.value()));
  ::kill(pid, SIGKILL);
  WaitForEnd(pid);
}

TEST(LifelineWord, ThreadThatLetsGoLeavesNothing) {
  const LanePair lane;
  std::thread([&] { const LifelineHolder holder(lane.replica.lifeline_word()); }).join();
  EXPECT_EQ(lane.broker->lifeline().value(), 0u);
}

}  // namespace
}  // namespace zerohop
