#include "broker/replicas/lane_maker.h"

namespace zerohop {

LaneMaker::LaneMaker(const LaneGeometry& geometry, DeviceReturn* device, std::function<void()> made)
    : geometry_(geometry), device_(device), made_(std::move(made)), thread_([this] { Run(); }) {}

LaneMaker::~LaneMaker() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  ordered_.notify_one();
  thread_.join();
}

LaneMaker::MadeLane LaneMaker::MakeNow(const LaneIdentity& identity) const {
  auto lane = BrokerLane::Create(identity, geometry_);
  if (!lane.ok()) return lane.status();
  Lane made{std::make_shared<BrokerLane>(*std::move(lane))};
  if (device_ == nullptr) return made;
  auto part = device_->MakeLaneDevice(geometry_.response_arena_bytes);
  if (part.ok()) {
    made.lane->SetDevice(*std::move(part));
  } else {
    made.no_device = std::string(part.status().message());
  }
  return made;
}

void LaneMaker::Make(const LaneIdentity& identity) {
  Give({identity, nullptr});
}

void LaneMaker::Unmake(std::shared_ptr<BrokerLane> lane) {
  Give({std::nullopt, std::move(lane)});
}

void LaneMaker::Give(Order order) {
  {
    std::lock_guard lock(mutex_);
    orders_.push_back(std::move(order));
  }
  ordered_.notify_one();
}

std::optional<LaneMaker::MadeLane> LaneMaker::Take(uint32_t replica) {
  std::lock_guard lock(mutex_);
  auto entry = ready_.extract(replica);
  if (entry.empty()) return std::nullopt;
  return std::move(entry.mapped());
}

void LaneMaker::Run() {
  for (;;) {
    Order order;
    {
      std::unique_lock lock(mutex_);
      ordered_.wait(lock, [this] { return stop_ || !orders_.empty(); });
      if (stop_) return;
      order = std::move(orders_.front());
      orders_.pop_front();
    }
    order.unmake.reset();
    if (!order.make) continue;
    MadeLane lane = MakeNow(*order.make);
    {
      std::lock_guard lock(mutex_);
      ready_.insert_or_assign(order.make->replica, std::move(lane));
    }
    made_();
  }
}

}  // namespace zerohop
