// Lies told about rows on a device, and by writing there. What a replica can reach of the device is its own
// arena; the rest is another process's.

#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "shm/cuda/device_arena.h"
#include "shm/segment.h"
#include "tests/process/liar/lie.h"

namespace zerohop {
namespace {

// Noise into all of the arena, the proof at its start included, again and again, beside the engine's own
// work.
void ScribbleTheArena(Stage& stage) {
  const auto device = stage.engine.device();
  const size_t bytes = stage.lane.response_arena().size();
  auto noise = Segment::Create("liar-noise", bytes, Access::kReadWrite);
  if (!noise.ok() || !device->Enter().ok()) return;
  auto pages = RegisteredPages::Register(device, noise->data(), bytes);
  auto stream = CudaStream::Create(device);
  if (!pages.ok() || !stream.ok()) return;
  std::mt19937_64 random(std::random_device{}());
  auto* words = reinterpret_cast<uint64_t*>(pages->data());
  for (size_t i = 0; i < bytes / sizeof *words; ++i) words[i] = random();
  while (stage.trigger.Pulled()) {
    (void)device->driver().cuMemcpyHtoDAsync_v2(stage.rows->at(0), words, bytes, stream->get());
    (void)device->driver().cuStreamSynchronize(stream->get());
    Confess();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Says that rows are there which the device has not begun with.
void CompleteBeforeTheStream(Hand& hand) {
  Submission submission;
  if (!hand.Take(&submission)) return;
  Confess();
  (void)hand.Publish(hand.Answer(submission, Hand::Rows::kSubmitted));
}

const std::map<std::string_view, Lie>& Lies() {
  static const std::map<std::string_view, Lie> lies{
      {"scribble_the_arena", Beside{ScribbleTheArena}},
      {"completes_before_the_stream", Flow{[](Stage&, Hand& hand) { CompleteBeforeTheStream(hand); }}},
      {"claims_the_host", Claim{[](Ready* ready) { ready->taken.path = ReturnPath::kHost; }}},
      {"claims_another_device", Claim{[](Ready* ready) { ready->info.device = "GPU-of another"; }}},
  };
  return lies;
}

}  // namespace

const Lie* FindDeviceLie(std::string_view name) {
  const auto found = Lies().find(name);
  return found == Lies().end() ? nullptr : &found->second;
}

}  // namespace zerohop
