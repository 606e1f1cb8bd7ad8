// zerohop._consumer: GpuConsumer (shm/consumer/gpu_consumer.h) for Python, which
// turns its statuses into exceptions (zerohop/gpu_consumer.py).
//
// A lease is held by the Rows object and by every matrix that was made of it for
// others (DLPack); it is given back when the last of them is gone.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python/device_matrix.h"
#include "shm/consumer/gpu_consumer.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zerohop {
namespace {

// The last hold may have to wait: for a server that does not read, or for the device. Not the interpreter's
// other threads.
template <typename T>
void LetGo(std::shared_ptr<T>* hold) {
  std::shared_ptr<T> last = std::exchange(*hold, nullptr);
  if (last == nullptr) return;
  const nb::gil_scoped_release released;
  last.reset();
}

class NativeRows {
 public:
  explicit NativeRows(RowLease lease) : lease_(std::make_shared<RowLease>(std::move(lease))) {}
  NativeRows(NativeRows&&) noexcept = default;
  NativeRows& operator=(NativeRows&&) = delete;
  ~NativeRows() { Release(); }

  std::tuple<uint64_t, uint32_t> Shape() const { return {Held().rows(), Held().dim()}; }
  uint64_t Offset() const { return Held().offset(); }
  std::string Device() const { return Held().device().uuid(); }
  bool Released() const { return lease_ == nullptr; }
  void Release() { LetGo(&lease_); }
  std::tuple<int, int> DlpackDevice() const { return {nb::device::cuda::value, Ordinal()}; }
  // The stream that the reader names need not wait: the broker has seen the device finish the rows. Of its
  // other wishes, those that cannot be met are refused, as DLPack has it.
  nb::object Dlpack(const nb::kwargs& wishes) const {
    const auto wish = [&](const char* name) { return wishes.contains(name) ? wishes[name] : nb::none(); };
    const DeviceMatrix matrix = Matrix();
    if (wish("copy").is(nb::bool_(true)))
      throw nb::buffer_error("the rows are shown where they are: no copy");
    const nb::object device = wish("dl_device");
    if (!device.is_none() && nb::cast<std::tuple<int, int>>(device) != DlpackDevice())
      throw nb::buffer_error("the rows are on another device");
    const nb::capsule hold(new std::shared_ptr<RowLease>(lease_), [](void* held) noexcept {
      const std::unique_ptr<std::shared_ptr<RowLease>> mine(static_cast<std::shared_ptr<RowLease>*>(held));
      LetGo(mine.get());
    });
    return matrix.Dlpack(hold);
  }
  nb::dict ArrayInterface() const { return Matrix().ArrayInterface(); }

 private:
  const RowLease& Held() const {
    if (lease_ == nullptr) throw nb::value_error("the rows were released");
    return *lease_;
  }
  DeviceMatrix Matrix() const { return {Held().address(), Held().rows(), Held().dim(), Ordinal()}; }
  int Ordinal() const { return Held().device().facts().ordinal; }

  std::shared_ptr<RowLease> lease_;  // null: released
};

// A status: the name of its code, empty where all is well, and its message.
using Said = std::tuple<std::string, std::string>;

Said Say(const absl::Status& status) {
  return {status.ok() ? "" : absl::StatusCodeToString(status.code()), std::string(status.message())};
}

std::optional<std::chrono::nanoseconds> Within(std::optional<double> seconds) {
  if (!seconds) return std::nullopt;
  return std::chrono::nanoseconds(static_cast<int64_t>(*seconds * 1e9));
}

class NativeConsumer {
 public:
  NativeConsumer() = default;
  NativeConsumer(const NativeConsumer&) = delete;
  NativeConsumer& operator=(const NativeConsumer&) = delete;
  ~NativeConsumer() { Close(); }

  Said Connect(const std::string& path, const std::string& device, std::optional<double> timeout) {
    const nb::gil_scoped_release released;
    auto consumer = GpuConsumer::Connect(path, device, Within(timeout));
    if (!consumer.ok()) return Say(consumer.status());
    consumer_ = *std::move(consumer);
    return Say(absl::OkStatus());
  }
  std::tuple<std::optional<NativeRows>, Said> Embed(const std::vector<std::string>& texts,
                                                    std::optional<double> timeout) {
    std::shared_ptr<GpuConsumer> consumer = consumer_;  // another thread may close
    if (consumer == nullptr) return {std::nullopt, Say(absl::CancelledError("the consumer is closed"))};
    const nb::gil_scoped_release released;
    auto lease = consumer->Embed(texts, Within(timeout));
    consumer.reset();
    if (!lease.ok()) return {std::nullopt, Say(lease.status())};
    return {NativeRows(*std::move(lease)), Say(absl::OkStatus())};
  }
  // Rows that are held keep what they need.
  void Close() { LetGo(&consumer_); }

 private:
  std::shared_ptr<GpuConsumer> consumer_;
};

}  // namespace
}  // namespace zerohop

NB_MODULE(_consumer, module) {
  using zerohop::NativeConsumer;
  using zerohop::NativeRows;
  module.doc() = "Embeddings that stay on the GPU. Private: zerohop.GpuConsumer is the interface.";
  nb::class_<NativeRows>(module, "NativeRows", "Embeddings on the GPU, leased.")
      .def_prop_ro("shape", &NativeRows::Shape)
      .def_prop_ro("offset", &NativeRows::Offset)
      .def_prop_ro("device", &NativeRows::Device)
      .def_prop_ro("released", &NativeRows::Released)
      .def("release", &NativeRows::Release)
      .def("dlpack", &NativeRows::Dlpack, nb::sig("def dlpack(self, **wishes: object) -> object"))
      .def("dlpack_device", &NativeRows::DlpackDevice)
      .def("array_interface", &NativeRows::ArrayInterface,
           nb::sig("def array_interface(self) -> dict[str, object]"));
  nb::class_<NativeConsumer>(module, "NativeConsumer", "A connection to a server on this host.")
      .def(nb::init<>())
      .def("connect", &NativeConsumer::Connect, "path"_a, "device"_a, "timeout"_a.none())
      .def("embed", &NativeConsumer::Embed, "texts"_a, "timeout"_a.none())
      .def("close", &NativeConsumer::Close);
}
