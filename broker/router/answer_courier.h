#pragma once

// AnswerCourier: brings answers that one thread has found ready to another, which gives them.

#include "broker/replicas/cpu_placement.h"
#include "broker/router/ready_answers.h"

namespace zerohop {

class AnswerCourier {
 public:
  virtual ~AnswerCourier() = default;
  // `cpu`: where the giver stands in nobody's way (Dispatcher::CpuToGiveOn).
  virtual void Carry(ReadyAnswers answers, int cpu) = 0;
};

}  // namespace zerohop
