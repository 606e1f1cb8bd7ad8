#pragma once

// AnswerCourier: brings answers that one thread has found ready to another, which gives them.

#include "broker/replicas/cpu_placement.h"
#include "broker/router/ready_answers.h"

namespace zerohop {

class AnswerCourier {
 public:
  virtual ~AnswerCourier() = default;
  // Not under the dispatch lock: some may be given before this returns. `cpu`: where the giver does the least
  // harm (Dispatcher::CpuToGiveOn); kAnyCpu: it may be anywhere. Told without answers, too, for what comes
  // next.
  virtual void Carry(ReadyAnswers answers, int cpu) = 0;
};

}  // namespace zerohop
