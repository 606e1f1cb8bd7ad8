#pragma once

// SteppedHouse: a router with two real replicas around it, and the test as
// client, supervisor and lane thread. Replica 0, the victim, is another process
// in each trial; replica 1, the survivor, serves through all of them.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "broker/router/router.h"
#include "tests/every_instruction/live_replica.h"
#include "tests/every_instruction/passage.h"
#include "tests/every_instruction/victim.h"
#include "tests/support/test_call.h"

namespace zerohop {

// What the victim is given.
struct Work {
  std::vector<uint32_t> prompts;  // of each request, in order of their posting
  // Posted before the first instruction. Each of the rest is posted once all before it were taken.
  size_t at_once = 1;
  // The survivor holds something else and does not get on with it, so the victim is the lane for all.
  bool survivor_is_busy = false;
};

// How far a victim came.
struct Trial {
  uint64_t posted = 0;  // requests
  uint64_t taken = 0;
  uint64_t published = 0;
  bool idle_again = false;  // all was done, and it had begun to wait for more
  bool strayed = false;     // it came somewhere else than the walk with as many instructions
};

class SteppedHouse {
 public:
  SteppedHouse();

  // Each of these two wakes a victim with work, kills it on its way, and expects that every request is
  // answered once and right, by whom it must be, and that nothing is left.
  //
  // Steps through all of it; the victim is killed when it is idle again.
  Passage Walk(const Work& work);
  // The victim is killed after its first `k` instructions, or when it is idle again.
  Trial KillAfter(uint64_t k, const Work& work, const Passage& passage);

  // The survivor's arenas are as empty as they were.
  void ExpectEmptyArenas();

 private:
  struct Request {
    std::vector<std::string> prompts;
    std::unique_ptr<TestCall> call;
  };
  using Requests = std::vector<Request>;
  // From where the victim is woken to where it is killed; posts what is to be posted on the way.
  using Run = std::function<void(Victim& victim, Requests* requests)>;

  std::unique_ptr<LiveReplica> StartReplica(uint32_t replica);
  void Serve(LiveReplica& replica);
  void OccupySurvivor(Requests* others);
  void WarmUp(const Work& work);
  void Submit(std::vector<std::string> prompts, Requests* requests);
  void SubmitNext(const Work& work, Requests* requests);
  bool SubmitNextIfTaken(const Work& work, const Visible& seen, Requests* requests);

  Trial RunAndKill(const Work& work, const Run& run);
  Trial RunOne(const LiveReplica& process, const Work& work, const Run& run, Requests* requests);
  void Bury(LiveReplica& victim, const Trial& trial, const Requests& requests);
  void AwaitAnswers(const Requests& requests);
  bool NothingUnderWay() const;
  void ExpectNothingLeft() const;
  BellLines& bell_lines() const { return *reinterpret_cast<BellLines*>(bell_.segment().data()); }

  LaneGeometry geometry_;
  BrokerBell bell_;
  BellSleeper sleeper_;
  uint64_t generation_ = 0;
  uint64_t request_ = 0;  // numbers every request, so that no two texts are alike
  std::vector<std::string> kills_;
  Router router_;
  std::unique_ptr<LiveReplica> survivor_;
  std::unique_ptr<LiveReplica> next_victim_;  // starts while the one before runs
};

}  // namespace zerohop
