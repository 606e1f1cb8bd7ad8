#include "broker/router/attendance.h"

namespace zerohop {

void Attendance::Begin() {
  if (attends_ || patience_.IsWorthwhile()) attends_ = bell_.Come();
}

void Attendance::Look() {
  if (!attends_) return;
  bell_.Looking();
  router_.Reap(Router::Clock::now());
}

bool Attendance::AwaitAnswer() {
  if (!attends_) return false;
  if (router_.HoldsRequests() && patience_.IsShort()) {
    const auto begin = Router::Clock::now();
    const auto waited =
        bell_.Wait(Patience::kLongest, router_.PaysToStayAwake() ? spin_ : std::chrono::nanoseconds(0));
    const auto now = Router::Clock::now();
    patience_.Record(now - begin, waited == BellAttendant::Waited::kRang);
    attends_ = waited != BellAttendant::Waited::kNoLonger;
    bell_.Looking();
    router_.Reap(now);
    return true;
  }
  bell_.Go();
  attends_ = false;
  if (router_.HoldsRequests()) router_.Reap(Router::Clock::now());
  return false;
}

}  // namespace zerohop
