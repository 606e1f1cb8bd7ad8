#include "broker/lanes/copy_engine.h"

#include <algorithm>
#include <tuple>

namespace zerohop {
namespace {

// A copy of a few KiB takes some ten microseconds; the driver has no wait with a deadline.
constexpr std::chrono::microseconds kBetweenQueries(20);
// At the end they are for nobody; but memory that is still written to cannot be given back.
constexpr std::chrono::seconds kLastCopies(1);

}  // namespace

// What the thread works with. Once it is left alone, in a driver that does not return, it uses nothing else.
class CopyEngine::Thread {
  struct Batch {
    std::vector<Landing> landings;
    std::vector<Gathering> gatherings;
    bool empty() const { return landings.empty() && gatherings.empty(); }
  };

 public:
  Thread(DeviceReturn& home, BellRinger bell, CudaStream stream)
      : home_(&home),
        device_(home.device()),
        deadline_(home.deadline()),
        bell_(bell),
        stream_(std::move(stream)) {}

  void Run();
  void Put(Landing landing) { Put(std::move(landing), &Batch::landings); }
  void Put(Gathering gathering) { Put(std::move(gathering), &Batch::gatherings); }
  bool HangsSince(Clock::time_point before);
  // Of a lost device: what waits was never asked for, so its regions go back; and so does what comes.
  void GiveBackWaiting();
  // False when it does not end.
  bool Stop();

 private:
  template <typename Copy>
  void Put(Copy copy, std::vector<Copy> Batch::*where) {
    {
      std::lock_guard lock(mutex_);
      if (refuses_) return;
      (waiting_.*where).push_back(std::move(copy));
    }
    changed_.notify_all();
  }
  bool TakeBatch();
  absl::Status CopyBatch();
  absl::Status CopyLandings();
  absl::Status CopyGathering(const Gathering& gathering);
  absl::Status WaitForStream();
  void TellDone();
  bool MayGoOn();
  bool Stopped();
  void OnLost();

  DeviceReturn* const home_;  // not once left alone
  const std::shared_ptr<const CudaDevice> device_;
  const std::chrono::nanoseconds deadline_;
  const BellRinger bell_;
  CudaStream stream_;
  Batch batch_;       // of the thread; once submitted to a device that is then lost, it stays
  std::mutex mutex_;  // the members below
  std::condition_variable changed_;
  Batch waiting_;
  bool refuses_ = false;
  Clock::time_point busy_since_ = Clock::now();
  bool stop_ = false;
  bool left_alone_ = false;
  bool ended_ = false;
};

absl::StatusOr<std::unique_ptr<CopyEngine>> CopyEngine::Create(DeviceReturn& home, BellRinger bell) {
  auto stream = CudaStream::Create(home.device());
  if (!stream.ok()) return stream.status();
  // Not make_unique: only we may make one.
  return std::unique_ptr<CopyEngine>(new CopyEngine(home, bell, *std::move(stream)));
}

CopyEngine::CopyEngine(DeviceReturn& home, BellRinger bell, CudaStream stream)
    : home_(home),
      thread_(std::make_shared<Thread>(home, bell, std::move(stream))),
      running_([thread = thread_] { thread->Run(); }) {}

CopyEngine::~CopyEngine() {
  if (thread_->Stop()) {
    running_.join();
  } else {
    home_.LeaveToTheEnd();
    running_.detach();
  }
}

void CopyEngine::Land(Landing landing) {
  thread_->Put(std::move(landing));
}

void CopyEngine::Gather(Gathering gathering) {
  if (home_.lost()) return;  // its rows may be a lane's that goes on
  thread_->Put(std::move(gathering));
}

// To submit a batch and to wait for it may take the deadline each.
void CopyEngine::Judge(Clock::time_point now) {
  if (!home_.lost()) {
    if (!thread_->HangsSince(now - 2 * home_.deadline())) return;
    home_.Lose("the driver does not return from copying rows");
  }
  thread_->GiveBackWaiting();  // its thread may never come to it
}

bool CopyEngine::Thread::HangsSince(Clock::time_point before) {
  std::lock_guard lock(mutex_);
  return busy_since_ < before;
}

bool CopyEngine::Thread::Stop() {
  std::unique_lock lock(mutex_);
  stop_ = true;
  changed_.notify_all();
  left_alone_ = !changed_.wait_for(lock, 2 * kLastCopies, [this] { return ended_; });
  return !left_alone_;
}

void CopyEngine::Thread::Run() {
  const absl::Status entered = device_->Enter();
  if (!MayGoOn()) return;
  if (!entered.ok()) home_->Lose(std::string(entered.message()));
  while (TakeBatch()) {
    const bool lost = home_->lost();
    if (!MayGoOn()) return;  // what was read of our makers was read before they go
    if (lost) {
      batch_ = Batch();
      OnLost();
      break;
    }
    const absl::Status copied = CopyBatch();
    if (!MayGoOn()) return;
    if (copied.ok()) {
      TellDone();
    } else if (Stopped()) {
      home_->LeaveToTheEnd();
      break;
    } else {
      // The batch stays, all of it: some copy may run, and the device still read and write there.
      home_->Lose(std::string(copied.message()));
      OnLost();
      break;
    }
  }
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

// After each call of the driver: whether those who made us are still there.
bool CopyEngine::Thread::MayGoOn() {
  std::lock_guard lock(mutex_);
  return !left_alone_;
}

void CopyEngine::Thread::TellDone() {
  for (const Landing& landing : batch_.landings) landing.memory->PutLanded(landing.slot);
  if (!batch_.landings.empty()) bell_.Ring();
  for (Gathering& gathering : batch_.gatherings) {
    gathering.rows.clear();
    gathering.done();
  }
  batch_ = Batch();
}

void CopyEngine::Thread::OnLost() {
  bell_.Ring();  // the lanes are looked at, and found lost
  GiveBackWaiting();
}

void CopyEngine::Thread::GiveBackWaiting() {
  Batch waiting;  // goes after the lock
  std::lock_guard lock(mutex_);
  refuses_ = true;
  std::swap(waiting, waiting_);
}

bool CopyEngine::Thread::Stopped() {
  std::lock_guard lock(mutex_);
  return stop_;
}

// False when it is time to stop.
bool CopyEngine::Thread::TakeBatch() {
  std::unique_lock lock(mutex_);
  busy_since_ = Clock::time_point::max();
  changed_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
  std::swap(batch_, waiting_);
  busy_since_ = Clock::now();
  return !stop_;
}

absl::Status CopyEngine::Thread::CopyBatch() {
  if (absl::Status landings = CopyLandings(); !landings.ok()) return landings;
  for (const Gathering& gathering : batch_.gatherings) {
    if (absl::Status submitted = CopyGathering(gathering); !submitted.ok()) return submitted;
  }
  return WaitForStream();
}

absl::Status CopyEngine::Thread::CopyLandings() {
  std::vector<Landing>& landings = batch_.landings;
  std::sort(landings.begin(), landings.end(), [](const Landing& a, const Landing& b) {
    return std::tie(a.memory, a.offset) < std::tie(b.memory, b.offset);
  });
  for (auto first = landings.begin(); first != landings.end();) {
    uint64_t bytes = first->bytes;
    auto next = std::next(first);
    for (; next != landings.end() && next->memory == first->memory && next->offset == first->offset + bytes;
         ++next) {
      bytes += next->bytes;
    }
    const LaneDevice& lane = *first->memory->lane().device();
    const auto submitted = device_->driver().cuMemcpyDtoHAsync_v2(
        lane.on_host(first->offset), lane.on_device(first->offset), bytes, stream_.get());
    if (absl::Status ok = device_->Check(submitted, "copy rows to the host"); !ok.ok()) return ok;
    first = next;
  }
  return absl::OkStatus();
}

// A replica that fell back has its rows on the host: they go up to the device, so that its consumer need not
// know.
absl::Status CopyEngine::Thread::CopyGathering(const Gathering& gathering) {
  const CudaDriver& driver = device_->driver();
  uint64_t offset = gathering.offset;
  for (const RowBlock& block : gathering.rows) {
    const cuda::CUdeviceptr to = gathering.to->at(offset);
    const auto submitted =
        block.on_device()
            ? driver.cuMemcpyDtoDAsync_v2(to, block.device_address(), block.size(), stream_.get())
            : driver.cuMemcpyHtoDAsync_v2(to, block.bytes().data(), block.size(), stream_.get());
    if (absl::Status ok = device_->Check(submitted, "copy rows to a consumer"); !ok.ok()) return ok;
    offset += block.size();
  }
  return absl::OkStatus();
}

absl::Status CopyEngine::Thread::WaitForStream() {
  Clock::time_point until = Clock::now() + deadline_;
  bool last = false;
  for (;;) {
    const cuda::CUresult result = device_->driver().cuStreamQuery(stream_.get());
    if (result != cuda::CUDA_ERROR_NOT_READY) return device_->Check(result, "copy rows");
    const Clock::time_point now = Clock::now();
    if (now >= until) return absl::DeadlineExceededError("copies of rows do not end");
    if (!last && Stopped()) {
      last = true;
      until = std::min(until, now + kLastCopies);
    }
    std::this_thread::sleep_for(kBetweenQueries);
  }
}

}  // namespace zerohop
