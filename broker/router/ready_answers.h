#pragma once

// ReadyAnswers: the answers that one turn of the router found ready, to be given
// once its lock is left. Those that go out on the same socket go out in one
// piece: a packet costs its sender, the kernel and its receiver more than the
// bytes of a short answer.

#include <cstddef>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "broker/router/ticket.h"

namespace zerohop {

class ReadyAnswers {
 public:
  void Add(AnswerSink* sink, Answer answer) { answers_.emplace_back(sink, std::move(answer)); }
  size_t size() const { return answers_.size(); }
  // All of them, once: socket by socket, each where its first answer was added, and there in that order.
  void Give();

 private:
  void GiveBySocket();

  absl::InlinedVector<std::pair<AnswerSink*, Answer>, 8> answers_;  // more than most turns bring
};

}  // namespace zerohop
