#include "broker/replicas/replica_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "shm/segment.h"

namespace zerohop {
namespace {

// A pipe as a replica's output, read as the supervisor reads it.
struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  void Print(const std::string& text) {
    EXPECT_EQ(::write(write_end.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool Drain() {
    return output.Drain(read_end.get(), [this](const std::string& line) { lines.push_back(line); });
  }

  UniqueFd read_end, write_end;
  ReplicaOutput output;
  std::vector<std::string> lines;
};

TEST(ReplicaOutput, TextIsCutIntoLinesWhereverItIsCutIntoReads) {
  Pipe pipe;
  pipe.Print("one\ntw");
  EXPECT_TRUE(pipe.Drain());
  EXPECT_EQ(pipe.lines, std::vector<std::string>({"one"}));
  pipe.Print("o\nthree\n");
  EXPECT_TRUE(pipe.Drain());
  EXPECT_EQ(pipe.lines, std::vector<std::string>({"one", "two", "three"}));
}

TEST(ReplicaOutput, EndOfStreamIsTold) {
  Pipe pipe;
  pipe.Print("bye\n");
  pipe.write_end.Reset();
  EXPECT_FALSE(pipe.Drain());
  EXPECT_EQ(pipe.output.LastLines(), "bye");
}

TEST(ReplicaOutput, SilentReplicaHasNoLastLines) {
  EXPECT_EQ(ReplicaOutput().LastLines(), "");
}

TEST(ReplicaOutput, KeepsTheLastFewLinesNewestLast) {
  Pipe pipe;
  for (int i = 1; i <= 8; ++i) pipe.Print("line " + std::to_string(i) + "\n\n");
  EXPECT_TRUE(pipe.Drain());
  EXPECT_EQ(pipe.output.LastLines(), "line 4 | line 5 | line 6 | line 7 | line 8");
}

TEST(ReplicaOutput, LineThatDidNotEndIsKeptWhenTheStreamEnds) {
  Pipe pipe;
  pipe.Print("fatal: no model");
  pipe.write_end.Reset();
  EXPECT_FALSE(pipe.Drain());
  EXPECT_EQ(pipe.output.LastLines(), "fatal: no model") << "the last word of a crash often lacks its newline";
}

TEST(ReplicaOutput, EndlessLineIsCutAndNothingIsLost) {
  Pipe pipe;
  const std::string text(3210, 'x');
  pipe.Print(text + "\n");
  EXPECT_TRUE(pipe.Drain());
  std::string all;
  for (const auto& line : pipe.lines) {
    EXPECT_LE(line.size(), 500u);
    all += line;
  }
  EXPECT_EQ(all, text);
}

TEST(ReplicaOutput, ControlCharactersNeverReachTheTerminal) {
  Pipe pipe;
  pipe.Print("\x1b[31mred\x07\r\n");
  EXPECT_TRUE(pipe.Drain());
  EXPECT_EQ(pipe.lines, std::vector<std::string>({"?[31mred??"}));
}

TEST(ReplicaOutput, AnyBytesAreLinesWithoutControlCharacters) {
  Pipe pipe;
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(random() % 4000, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    pipe.Print(bytes);
    EXPECT_TRUE(pipe.Drain());
  }
  for (const auto& line : pipe.lines) {
    EXPECT_LE(line.size(), 500u);
    for (char c : line) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
  }
}

}  // namespace
}  // namespace zerohop
