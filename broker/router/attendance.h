#pragma once

// Attendance: what a front thread does about answers while gRPC has nothing
// for it. Fast engines answer sooner than the lane thread could wake: then the
// front thread waits for them by itself, which saves a hand-over between threads for
// each batch. Slow engines are left to the lane thread, and the front thread
// sleeps in gRPC.
//
//   Begin → Submit … → AwaitAnswer ─ true ─► what gRPC has by now, and again
//                         └────────── false ─► sleep in gRPC
//
// One object for each front thread.

#include <chrono>

#include "broker/router/patience.h"
#include "broker/router/router.h"
#include "shm/bell.h"

namespace zerohop {

class Attendance {
 public:
  // `spin`: most that this thread stays awake for the only request in the house, where that pays.
  Attendance(Router& router, BellAttendant bell, std::chrono::nanoseconds spin)
      : router_(router), bell_(bell), spin_(spin) {}

  // Before an event of gRPC is dealt with: it may bring work.
  void Begin();
  // More work is at hand: rings the replicas that got some, and takes off what is finished by now.
  void Look();
  // No more work is at hand: rings the replicas that got some. True when answers may have gone out, or are
  // expected soon: look at gRPC, and come back. False: the lane thread takes off what is still to come.
  bool AwaitAnswer();
  // Whether the next request may be looked for awake: engines are fast, none is at work, for which it could
  // need this CPU, and no lone client is served, for whom a replica may stay awake.
  bool MayLookAwake() const {
    return patience_.AnswersComeSoon() && !router_.HoldsRequests() && !router_.HasLoneClient();
  }
  // The thread leaves: the lane thread takes off what is still to come.
  void End();

 private:
  void Wait();

  Router& router_;
  BellAttendant bell_;
  const std::chrono::nanoseconds spin_;
  Patience patience_;
  bool attends_ = false;
  bool first_wait_ = false;  // of this attendance
};

}  // namespace zerohop
