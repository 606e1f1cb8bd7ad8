#pragma once

// Linger: how long a worker waits, between two passes, for the callers that it
// has just answered.
//
// A pass costs something by itself, beside what its tokens cost: weights are
// read, kernels are launched. Callers that send one request after the other
// are back a moment after their answer, and a pass that begins with the first
// of them lets the others wait for all of it. So the worker waits while
//   - there is work, but less than a batch,
//   - fewer have come than were answered,
//   - less has gone by since the last of them came than is saved if the rest
//     comes: what a pass costs by itself, or where they are fewer than the
//     prompts that wait for them, as much less, and
//   - less than a quarter of the last pass, and than 20 ms, has gone by since
//     its end; of which 100 µs or more are left.
// So whoever sends one prompt after the other, alone, is not kept waiting, nor
// who comes later than that. Where fewer than three of four came, none are
// awaited for some passes, twice as many each time. What a pass costs is
// learned: the line through the tokens and times of recent passes.
// It counts submissions: a caller whose request was cut into several shards is
// taken for several. Looks at no clock; the worker's thread.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace zerohop {

class Linger {
 public:
  using Clock = std::chrono::steady_clock;

  // Submissions were taken off the lane.
  void OnTaken(size_t submissions) { came_ += static_cast<int64_t>(submissions); }
  // For how long from now to wait with `at_hand` prompts, which do not fill a batch. 0: run them.
  Clock::duration TimeToWait(size_t at_hand, Clock::time_point now);
  // A pass has run: whether those who were awaited came before it.
  void JudgeWait();
  // It went over so many tokens, and took so long.
  void LearnPass(uint64_t tokens, Clock::duration took);
  // At the end of a pass, submissions with so many prompts in all were answered, while others waited in the
  // lane.
  void OnAnswered(size_t submissions, size_t prompts, size_t waiting, Clock::time_point now);

 private:
  // The line through recent passes, by averages that forget.
  class PassCost {
   public:
    void Learn(double tokens, double seconds);
    // Seconds of a pass beside those of its tokens. 0 until passes were of different sizes.
    double fixed() const { return fixed_; }

   private:
    uint32_t passes_ = 0;  // up to those that an average is over
    double fixed_ = 0;
    double tokens_ = 0, seconds_ = 0, tokens_squared_ = 0, tokens_by_seconds_ = 0;
  };

  PassCost cost_;
  Clock::duration took_{};         // the last pass
  Clock::time_point end_{};        // of the last pass that answered somebody
  int64_t answered_ = 0;           // submissions, at that end
  size_t prompts_answered_ = 0;    // theirs
  int64_t came_ = 0;               // submissions since; negative until those taken that had come before
  int64_t seen_ = 0;               // came_, when last looked at
  Clock::time_point last_came_{};  // or that end
  bool waited_ = false;            // since a pass
  uint32_t skip_ = 0;              // passes after which none are awaited
  uint32_t next_skip_ = 1;
};

}  // namespace zerohop
