#include "tests/fake_cuda/copies.h"

#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "tests/fake_cuda/device_memory.h"
#include "tests/fake_cuda/host_memory.h"
#include "tests/fake_cuda/registry.h"

namespace zerohop::fake_cuda {
namespace {

// Before the bytes move: counting after them would tell other threads that they have.
void CountCopy(Counter copies, Counter counted_bytes, size_t bytes) {
  Count(SharedWords(), copies);
  Count(SharedWords(), counted_bytes, bytes);
}

// The bytes of a range now that a stream comes to it; where they are gone, null and the context broken.
std::optional<Reach> ReachOrBreak(Context& context, cuda::CUdeviceptr address, size_t bytes) {
  auto reach = ReachDevice(address, bytes);
  if (!reach) context.Break(cuda::CUDA_ERROR_ILLEGAL_ADDRESS);
  return reach;
}

void BreakUnlessRegistered(Context& context, const void* host, size_t bytes) {
  if (!Registered(host, bytes)) context.Break(cuda::CUDA_ERROR_ILLEGAL_ADDRESS);
}

thread_local Context* launched_in = nullptr;
// What the function in progress was shown: a free meanwhile must not unmap it.
thread_local std::vector<Reach> shown;

}  // namespace

cuda::CUresult CopyToDevice(Stream& stream, cuda::CUdeviceptr to, const void* from, size_t bytes) {
  if (from == nullptr || !ReachDevice(to, bytes)) return cuda::CUDA_ERROR_INVALID_VALUE;
  CountCopy(Counter::copies_htod, Counter::bytes_htod, bytes);
  if (Registered(from, bytes)) {
    stream.Submit([=](Context& context) {
      BreakUnlessRegistered(context, from, bytes);
      const auto reach = ReachOrBreak(context, to, bytes);
      if (reach && context.broken == 0) std::memcpy(reach->data, from, bytes);
    });
    return cuda::CUDA_SUCCESS;
  }
  // The driver takes a copy of its own first; then the caller may change the source.
  Count(SharedWords(), Counter::pageable_copies);
  const auto* first = static_cast<const std::byte*>(from);
  auto staged = std::make_shared<std::vector<std::byte>>(first, first + bytes);
  stream.Submit([=](Context& context) {
    if (const auto reach = ReachOrBreak(context, to, bytes)) std::memcpy(reach->data, staged->data(), bytes);
  });
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult CopyToHost(Stream& stream, void* to, cuda::CUdeviceptr from, size_t bytes) {
  if (to == nullptr || !ReachDevice(from, bytes)) return cuda::CUDA_ERROR_INVALID_VALUE;
  CountCopy(Counter::copies_dtoh, Counter::bytes_dtoh, bytes);
  const bool pinned = Registered(to, bytes);
  stream.Submit([=](Context& context) {
    if (pinned) BreakUnlessRegistered(context, to, bytes);
    const auto reach = ReachOrBreak(context, from, bytes);
    if (reach && context.broken == 0) std::memcpy(to, reach->data, bytes);
  });
  if (pinned) return cuda::CUDA_SUCCESS;
  Count(SharedWords(), Counter::pageable_copies);
  return stream.Synchronize();
}

cuda::CUresult CopyOnDevice(Stream& stream, cuda::CUdeviceptr to, cuda::CUdeviceptr from, size_t bytes) {
  if (!ReachDevice(to, bytes) || !ReachDevice(from, bytes)) return cuda::CUDA_ERROR_INVALID_VALUE;
  CountCopy(Counter::copies_dtod, Counter::bytes_dtod, bytes);
  stream.Submit([=](Context& context) {
    const auto source = ReachOrBreak(context, from, bytes);
    const auto target = ReachOrBreak(context, to, bytes);
    if (source && target) std::memmove(target->data, source->data, bytes);
  });
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult Fill(Stream& stream, cuda::CUdeviceptr to, unsigned char value, size_t bytes) {
  if (!ReachDevice(to, bytes)) return cuda::CUDA_ERROR_INVALID_VALUE;
  stream.Submit([=](Context& context) {
    if (const auto reach = ReachOrBreak(context, to, bytes)) std::memset(reach->data, value, bytes);
  });
  return cuda::CUDA_SUCCESS;
}

cuda::CUresult WriteWord(Stream& stream, cuda::CUdeviceptr to, uint32_t value) {
  if (to % sizeof(value) != 0 || !ReachDevice(to, sizeof(value))) return cuda::CUDA_ERROR_INVALID_VALUE;
  stream.Submit([=](Context& context) {
    const auto reach = ReachOrBreak(context, to, sizeof(value));
    if (!reach) return;
    // With the fence that is documented before such a write.
    std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(reach->data))
        .store(value, std::memory_order_release);
  });
  return cuda::CUDA_SUCCESS;
}

void RunLaunched(Context& context, cuda::CUhostFn function, void* argument) {
  launched_in = &context;
  CallHostFunction(function, argument);
  launched_in = nullptr;
  shown.clear();
}

void* AccessDevice(cuda::CUdeviceptr address, size_t bytes) {
  if (launched_in == nullptr) return nullptr;
  const auto reach = ReachOrBreak(*launched_in, address, bytes);
  if (!reach) return nullptr;
  shown.push_back(*reach);
  return reach->data;
}

}  // namespace zerohop::fake_cuda
