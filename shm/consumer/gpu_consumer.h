#pragma once

// GpuConsumer: a client on the same host and GPU as the server: texts go in over
// the consumers' socket, and embeddings stay on the device, in an arena that the
// broker made for this process. What comes back is a lease: where in the arena
// the rows lie, until it is given back.
//
// Any thread may call Embed, several at once. A lease keeps the consumer, and so
// the arena, open. Work that reads the rows must be done on the device before
// its lease goes: the broker writes the next rows there. To give a lease back waits
// for a server that does not read, once the socket is full. When the server goes,
// the arena is let go of with the last lease.

#include <chrono>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shm/consumer/consumer_message.h"
#include "shm/cuda/device_arena.h"
#include "shm/packet_socket.h"

namespace zerohop {

class GpuConsumer;

// Embeddings on the device: [rows, dim] floats, side by side, in the order of the texts. Move-only; given
// back when it goes. May go on any thread.
class RowLease {
 public:
  RowLease(std::shared_ptr<GpuConsumer> consumer, const RowsLeased& rows)
      : consumer_(std::move(consumer)), rows_(rows) {}
  RowLease(RowLease&&) noexcept = default;
  RowLease& operator=(RowLease&&) = delete;
  ~RowLease();

  uint64_t rows() const { return rows_.rows; }
  uint32_t dim() const { return rows_.dim; }
  uint64_t offset() const { return rows_.offset; }  // in the arena, bytes
  // Valid in the primary context of the device, which is the one that frameworks use.
  cuda::CUdeviceptr address() const;
  const CudaDevice& device() const;

 private:
  std::shared_ptr<GpuConsumer> consumer_;  // null: moved from
  RowsLeased rows_;
};

class GpuConsumer : public std::enable_shared_from_this<GpuConsumer> {
 public:
  // `path`: of the socket that `zerohop serve --consumer-socket` has made. `device`: an ordinal of this
  // process or a UUID; it must be the server's. Unavailable: no server is there; FailedPrecondition: it
  // cannot serve us, in one sentence; DeadlineExceeded: it has not offered an arena within `timeout`.
  static absl::StatusOr<std::shared_ptr<GpuConsumer>> Connect(
      const std::string& path, const std::string& device,
      std::optional<std::chrono::nanoseconds> timeout = std::chrono::seconds(30));
  ~GpuConsumer();
  GpuConsumer(const GpuConsumer&) = delete;
  GpuConsumer& operator=(const GpuConsumer&) = delete;

  // Waits for the rows of `texts`, at least one. InvalidArgument: the texts are at fault. ResourceExhausted:
  // leases fill the arena, or the server has too much to do. DeadlineExceeded: `timeout` is over, whatever
  // the server does; without one, its own --forward-timeout, and a server that stands still is waited for.
  // Unavailable: the server, or its device, is gone; the same texts may go to its gRPC port.
  absl::StatusOr<RowLease> Embed(std::span<const std::string> texts,
                                 std::optional<std::chrono::nanoseconds> timeout = std::nullopt);

 private:
  friend class RowLease;
  using Outcome = absl::StatusOr<RowsLeased>;

  GpuConsumer(PacketSocket socket, std::shared_ptr<const CudaDevice> device, ImportedArena arena,
              uint64_t arena_bytes);

  void HearAnswers();
  void Settle(uint64_t id, Outcome outcome);
  void GiveBack(const RowsLeased& rows);
  void CloseArena();

  const PacketSocket socket_;
  const std::shared_ptr<const CudaDevice> device_;
  std::optional<ImportedArena> arena_;
  const uint64_t arena_bytes_;
  std::mutex mutex_;  // the members below
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::promise<Outcome>> waiting_;  // by id of the request
  std::optional<absl::Status> gone_;                   // why nothing more will come
  size_t leases_ = 0;                                  // that are held
  std::thread listener_;
};

}  // namespace zerohop
