#pragma once

// LaneMaker: reserves the lanes of coming generations, and gives back those of
// past ones, on a thread of its own: a hundred MiB take the kernel tens of
// milliseconds, in which the supervisor must hear of other deaths.

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "broker/replicas/device_return.h"
#include "shm/lane.h"

namespace zerohop {

class LaneMaker {
 public:
  struct Lane {
    std::shared_ptr<BrokerLane> lane;
    std::string no_device{};  // why it has none, where it should
  };
  using MadeLane = absl::StatusOr<Lane>;

  // `device`: where rows may be born; null: on the host alone. Outlives this.
  // `made`: on the maker's thread, whenever Take has something new.
  LaneMaker(const LaneGeometry& geometry, DeviceReturn* device, std::function<void()> made);
  ~LaneMaker();

  // Here and now.
  MadeLane MakeNow(const LaneIdentity& identity) const;

  // Any thread. The lane is found by Take; orders are carried out in their order.
  void Make(const LaneIdentity& identity);
  // Nothing while it is being made. ResourceExhausted where the machine has no room.
  std::optional<MadeLane> Take(uint32_t replica);
  // Frees it, unless answers still refer to it: then the last of them does.
  void Unmake(std::shared_ptr<BrokerLane> lane);

 private:
  struct Order {
    std::optional<LaneIdentity> make;
    std::shared_ptr<BrokerLane> unmake;
  };

  void Give(Order order);
  void Run();

  const LaneGeometry geometry_;
  DeviceReturn* const device_;
  const std::function<void()> made_;
  std::mutex mutex_;  // the members below
  std::condition_variable ordered_;
  std::deque<Order> orders_;
  std::map<uint32_t, MadeLane> ready_;  // by replica
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace zerohop
