#include "broker/router/attendance.h"

#include <utility>

namespace zerohop {

void Attendance::Begin() {
  if (!attends_ && !patience_.IsWorthwhile()) return;
  const bool attended = std::exchange(attends_, bell_.Come());
  first_wait_ |= !attended;
}

void Attendance::Look() {
  router_.RingReplicas();
  if (!attends_) return;
  bell_.Looking();
  router_.Reap(Router::Clock::now());
}

bool Attendance::AwaitAnswer() {
  router_.RingReplicas();
  if (!attends_) return false;
  if (router_.HoldsRequests() && patience_.IsShort()) {
    Wait();
    return true;
  }
  End();
  return false;
}

void Attendance::Wait() {
  const auto begin = Router::Clock::now();
  const auto waited =
      bell_.Wait(Patience::kLongest, router_.PaysToStayAwake() ? spin_ : std::chrono::nanoseconds(0));
  const auto now = Router::Clock::now();
  const bool rang = waited == BellAttendant::Waited::kRang;
  // What has rung since the last attendance ends the first wait at once, and says nothing of the engine.
  if (!std::exchange(first_wait_, false) || !rang) patience_.Record(now - begin, rang);
  attends_ = waited != BellAttendant::Waited::kNoLonger;
  bell_.Looking();
  router_.Reap(now);
}

void Attendance::End() {
  if (!std::exchange(attends_, false)) return;
  bell_.Go();
  if (router_.HoldsRequests()) router_.Reap(Router::Clock::now());
}

}  // namespace zerohop
