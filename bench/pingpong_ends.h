#pragma once

// The two ends of what lane_pingpong measures: of a pair of words in shared
// memory, and of a lane. An end belongs to one thread; Send and Receive take
// turns, and a message's number is the last one's plus one, from 1 on.

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "broker/lanes/completion_check.h"
#include "shm/lane.h"
#include "shm/row.h"
#include "shm/spin.h"

namespace zerohop::bench {

inline constexpr size_t kRequestBytes = 64;
inline constexpr uint32_t kMaxAnswerFloats = 1u << 18;
inline constexpr std::chrono::milliseconds kLongestSleep(100);
inline constexpr std::chrono::microseconds kSpinLimit(50);  // as the broker's and the replicas'

[[noreturn]] inline void Fail(const std::string& reason) {
  std::fprintf(stderr, "lane_pingpong: %s\n", reason.c_str());
  _exit(1);
}

// The private memory that one process copies out of and into, so that each byte moves as often whichever way
// is measured. A message's number is in its first and its last word.
class Payload {
 public:
  explicit Payload(uint32_t words) : words_(words) {}
  size_t bytes() const { return words_.size() * sizeof(uint32_t); }
  void WriteTo(void* to, uint32_t number) {
    words_.front() = words_.back() = number;
    std::memcpy(to, words_.data(), bytes());
  }
  void ReadFrom(const void* from, uint32_t number) {
    std::memcpy(words_.data(), from, bytes());
    if (words_.front() == number && words_.back() == number) return;
    Fail("message " + std::to_string(number) + " arrived as " + std::to_string(words_.front()) + ".." +
         std::to_string(words_.back()));
  }

 private:
  std::vector<uint32_t> words_;
};

// --- the bare primitives --------------------------------------------------------------------------------

// One direction: the number of the last message, and the message.
struct WordWay {
  Line32 number;
  alignas(kPageBytes) std::byte message[kMaxAnswerFloats * sizeof(float)];
};
struct WordPair {
  WordWay there, back;
};

// One process's end of a WordPair.
class WordEnd {
 public:
  WordEnd(WordWay& out, WordWay& in, uint32_t words_out, uint32_t words_in, bool sleeps)
      : out_(out), in_(in), written_(words_out), read_(words_in), sleeps_(sleeps) {}

  void Send(uint32_t number) {
    written_.WriteTo(out_.message, number);
    out_.number.value.store(number, std::memory_order_release);
    if (sleeps_) syscall(SYS_futex, &out_.number.value, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  void Receive(uint32_t number) {
    while (in_.number.value.load(std::memory_order_acquire) != number) {
      if (sleeps_) {
        syscall(SYS_futex, &in_.number.value, FUTEX_WAIT, number - 1, nullptr, nullptr, 0);
      } else {
        Pause();
      }
    }
    read_.ReadFrom(in_.message, number);
  }

 private:
  WordWay& out_;
  WordWay& in_;
  Payload written_, read_;
  const bool sleeps_;
};

// --- the lane -------------------------------------------------------------------------------------------

class BrokerEnd {
 public:
  BrokerEnd(BrokerLane& lane, const BrokerBell& bell, uint32_t floats, bool sleeps)
      : lane_(lane),
        sleeper_(bell.MakeSleeper(sleeps ? std::chrono::nanoseconds(0) : kSpinLimit)),
        written_(kRequestBytes / sizeof(uint32_t)),
        read_(floats) {
    submission_.request_length = kRequestBytes;
    submission_.response_length = static_cast<uint32_t>(RowBytes(floats));
    submission_.rows = 1;
    submission_.dim = floats;
    lane_.SetQuiet(!sleeps);
  }

  void Send(uint32_t number) {
    written_.WriteTo(lane_.request(0), number);
    submission_.cookie = number;
    if (lane_.Submit(submission_) != RingResult::kDone) Fail("the submission ring is full");
    lane_.RingReplica();
  }
  void Receive(uint32_t number) {
    Completion completion;
    RingResult taken;
    while ((taken = lane_.TakeCompletion(&completion)) == RingResult::kEmpty) sleeper_.Wait(kLongestSleep);
    if (taken != RingResult::kDone || Check(completion, &submission_) != CompletionVerdict::kGood) {
      Fail("a completion is not what was submitted");
    }
    read_.ReadFrom(lane_.response(submission_.response_offset), number);
  }

 private:
  BrokerLane& lane_;
  BellSleeper sleeper_;
  Submission submission_{};
  Payload written_, read_;
};

class ReplicaEnd {
 public:
  ReplicaEnd(ReplicaLane& lane, uint32_t floats)
      : lane_(lane), written_(floats), read_(kRequestBytes / sizeof(uint32_t)) {}

  void Receive(uint32_t number) {
    RingResult taken;
    while ((taken = lane_.TakeSubmission(&submission_)) == RingResult::kEmpty) {
      lane_.WaitForWork(kLongestSleep);
    }
    if (taken != RingResult::kDone) Fail("the submission ring is corrupt");
    read_.ReadFrom(lane_.request(submission_).data(), number);
  }
  void Send(uint32_t number) {
    written_.WriteTo(lane_.response(submission_).data(), number);
    Completion completion{};
    completion.cookie = submission_.cookie;
    completion.slot = submission_.slot;
    completion.rows = submission_.rows;
    if (lane_.Complete(completion) != RingResult::kDone) Fail("the completion ring is full");
    lane_.RingBroker();
  }

 private:
  ReplicaLane& lane_;
  Submission submission_{};
  Payload written_, read_;
};

}  // namespace zerohop::bench
