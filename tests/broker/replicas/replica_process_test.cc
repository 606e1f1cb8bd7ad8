#include "broker/replicas/replica_process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>

#include "tests/support/must.h"

namespace zerohop {
namespace {

ReplicaProcess Shell(const std::string& script) {
  return Must(ReplicaProcess::Spawn({"/bin/sh", "-c", script}));
}

// Blocks until the pidfd says that the process has ended.
void WaitForEnd(const ReplicaProcess& child) {
  pollfd ended{child.pidfd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ended, 1, -1), 1);
}

std::string OutputOf(ReplicaProcess& child) {
  std::string all;
  for (;;) {
    pollfd readable{child.output_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&readable, 1, -1), 1);
    char buffer[256];
    const ssize_t got = ::read(child.output_fd(), buffer, sizeof buffer);
    if (got <= 0) return all;
    all.append(buffer, static_cast<size_t>(got));
  }
}

TEST(ReplicaProcess, SuccessAndFailureAreTold) {
  ReplicaProcess good = Must(ReplicaProcess::Spawn({"/bin/true"}));
  EXPECT_TRUE(good);
  WaitForEnd(good);
  EXPECT_EQ(good.Reap(), "exit 0");
  EXPECT_FALSE(good);
  ReplicaProcess bad = Shell("exit 3");
  WaitForEnd(bad);
  EXPECT_EQ(bad.Reap(), "exit 3");
}

TEST(ReplicaProcess, SignalIsToldByNumberAndName) {
  ReplicaProcess child = Shell("kill -SEGV $$");
  WaitForEnd(child);
  EXPECT_EQ(child.Reap(), "signal 11 (Segmentation fault)");
}

TEST(ReplicaProcess, KillEndsWhatWouldNotEnd) {
  ReplicaProcess child = Must(ReplicaProcess::Spawn({"/bin/sleep", "1000"}));
  child.Kill();
  WaitForEnd(child);
  EXPECT_EQ(child.Reap(), "signal 9 (Killed)");
  child.Kill();  // nobody any more: no effect
}

TEST(ReplicaProcess, ProgramThatIsNotThereExitsWithASentence) {
  ReplicaProcess child = Must(ReplicaProcess::Spawn({"/no/such/program"}));
  EXPECT_EQ(OutputOf(child), "cannot execute the replica program\n");
  WaitForEnd(child);
  EXPECT_EQ(child.Reap(), "exit 127");
}

TEST(ReplicaProcess, BothStreamsComeThroughOnePipe) {
  ReplicaProcess child = Shell("echo out; echo err >&2");
  EXPECT_EQ(OutputOf(child), "out\nerr\n");
}

TEST(ReplicaProcess, ControlSocketIsDescriptorThree) {
  ReplicaProcess child = Shell(R"(printf '{"type":"hello","protocol":1,"pid":5}' >&3)");
  EXPECT_EQ(std::get<Hello>(Must(child.control().Receive(true)).message).pid, 5);
  EXPECT_TRUE(absl::IsUnavailable(child.control().Receive(true).status())) << "its end is end of file";
}

TEST(ReplicaProcess, ChildInheritsNothingElse) {
  // Held open here without close-on-exec, as a careless library would.
  UniqueFd careless(::dup(STDERR_FILENO));
  ReplicaProcess child = Must(ReplicaProcess::Spawn({"/bin/ls", "/proc/self/fd"}));
  EXPECT_EQ(OutputOf(child), "0\n1\n2\n3\n4\n") << "4 is the folder that ls reads";
}

TEST(ReplicaProcess, DestructionLeavesNoProcessBehind) {
  pid_t pid;
  {
    const ReplicaProcess child = Must(ReplicaProcess::Spawn({"/bin/sleep", "1000"}));
    pid = child.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(ReplicaProcess, MovedProcessIsOwnedOnce) {
  ReplicaProcess first = Must(ReplicaProcess::Spawn({"/bin/sleep", "1000"}));
  const pid_t pid = first.pid();
  ReplicaProcess second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is the question
  EXPECT_EQ(second.pid(), pid);
  second = ReplicaProcess();
  EXPECT_EQ(::kill(pid, 0), -1) << "the one it held was ended";
}

}  // namespace
}  // namespace zerohop
