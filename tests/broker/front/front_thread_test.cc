// A front thread and its completion queue: what it does when it has nothing to do.

#include "broker/front/front_thread.h"

#include <grpcpp/alarm.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <atomic>
#include <memory>

#include "broker/front/completion_event.h"
#include "tests/support/router_house.h"

namespace zerohop {
namespace {

class Event final : public CompletionEvent {
 public:
  void Proceed(bool /*ok*/) override { seen_.store(true); }
  bool seen() const { return seen_.load(); }

 private:
  std::atomic<bool> seen_{false};
};

class FrontThreadTest : public ::testing::Test {
 protected:
  ~FrontThreadTest() override { Leave(); }

  void Run(std::chrono::nanoseconds look_awake) {
    thread_ = std::make_unique<FrontThread>(*queue_, attendance_, look_awake);
  }
  // Whether it computes while there is nothing to do.
  bool LooksAwake() {
    return Wait([this] { return Cpu() > std::chrono::milliseconds(20); });
  }
  // What the thread has computed so far.
  std::chrono::nanoseconds Cpu() {
    clockid_t clock;
    timespec cpu{};
    ::pthread_getcpuclockid(thread_->handle(), &clock);
    ::clock_gettime(clock, &cpu);
    return std::chrono::seconds(cpu.tv_sec) + std::chrono::nanoseconds(cpu.tv_nsec);
  }
  void Send(Event* event) {
    alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_MONOTONIC), static_cast<CompletionEvent*>(event));
  }
  void Leave() {
    if (!server_) return;
    server_->Shutdown(std::chrono::system_clock::now());
    queue_->Shutdown();
    thread_.reset();  // joins
    server_.reset();
  }
  template <typename Happened>
  static bool Wait(Happened happened) {
    for (int i = 0; i < 100'000 && !happened(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return happened();
  }

  RouterHouse house_;
  grpc::ServerBuilder builder_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_ = builder_.AddCompletionQueue();
  std::unique_ptr<grpc::Server> server_ = builder_.BuildAndStart();
  const Attendance attendance_{house_.router(), house_.bell().MakeAttendant(), std::chrono::nanoseconds(0)};
  grpc::Alarm alarm_;
  std::unique_ptr<FrontThread> thread_;
};

TEST_F(FrontThreadTest, FindsWhatComesWhileItSleeps) {
  Run(std::chrono::nanoseconds(0));
  Event event;
  Send(&event);
  EXPECT_TRUE(Wait([&] { return event.seen(); }));
}

TEST_F(FrontThreadTest, LooksAwakeAndFindsWhatComes) {
  Run(std::chrono::hours(1));
  EXPECT_TRUE(LooksAwake());
  Event event;
  Send(&event);
  EXPECT_TRUE(Wait([&] { return event.seen(); }));
}

TEST_F(FrontThreadTest, LeavesWhileItLooks) {
  Run(std::chrono::hours(1));
  EXPECT_TRUE(LooksAwake());
  Leave();
}

}  // namespace
}  // namespace zerohop
