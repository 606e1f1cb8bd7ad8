#pragma once

// AnswerCourier: brings answers that one thread has found ready to another, which gives them, and says where
// that one runs.

#include "broker/replicas/cpu_placement.h"
#include "broker/router/ready_answers.h"

namespace zerohop {

class AnswerCourier {
 public:
  virtual ~AnswerCourier() = default;
  // Not under the dispatch lock: some may be given before this returns. `cpu`: as for Place. Told without
  // answers, too, for what comes next.
  virtual void Carry(ReadyAnswers answers, int cpu) = 0;
  // Where the giver had best be from here on (Dispatcher::CpuForFront); kAnyCpu: it may be anywhere.
  virtual void Place(int cpu) = 0;
};

}  // namespace zerohop
