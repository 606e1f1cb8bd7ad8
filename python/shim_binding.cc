// zerohop._shim: the replica's loop (replica_shim/), for engines in Python.
//
// The loop is C++ and holds no lock of the interpreter while it waits: beats go
// on whatever Python does. A Runner (zerohop/replica/_runners.py) stands for
// the engine: it catches what an engine may raise, so nothing of it crosses this file.
//
// Prompts and rows are shown as views over the lane, and an engine may leave
// some to a thread of its own. So the end of a submission is published when the
// last view of it is gone: nobody else's answer lies in that memory before.
//
// Rows of a batch may also lie on a GPU (Engine::device). They are then shown as
// blocks, by their address there; this process cannot read them.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <bit>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "python/device_matrix.h"
#include "replica_shim/group_guard.h"
#include "replica_shim/serve_replica.h"
#include "replica_shim/task.h"
#include "shm/cuda/cuda_device.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zerohop {
namespace {

// A NaN that no computation makes: an engine that leaves it in a row has not filled the row.
constexpr uint32_t kUnfilled = 0x7fc5a9e1;
constexpr uint32_t kBytesPerToken = 4;  // of a text whose tokens nobody has counted

using Bytes = nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>>;
using Ids = nb::ndarray<nb::numpy, const int32_t, nb::ndim<1>>;
using Row = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using Matrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// The views of one batch that are still held, and what waits for the last of
// them. Guarded by the interpreter's lock.
class Views {
 public:
  // Its owner: an object of the interpreter that counts as long as it lives.
  static nb::capsule Hold(const std::shared_ptr<Views>& views) {
    ++views->held_;
    return nb::capsule(new std::shared_ptr<Views>(views), [](void* held) noexcept {
      const std::unique_ptr<std::shared_ptr<Views>> mine(static_cast<std::shared_ptr<Views>*>(held));
      if (--(*mine)->held_ == 0 && (*mine)->when_none_) std::exchange((*mine)->when_none_, nullptr)();
    });
  }
  void WhenNone(std::function<void()> then) {
    if (held_ == 0) return then();
    when_none_ = std::move(then);
  }
  size_t held() const { return held_; }

 private:
  size_t held_ = 0;
  std::function<void()> when_none_;
};

// Where the rows of an engine are born that has named a GPU.
struct DeviceHome {
  std::shared_ptr<const CudaDevice> device;
  cuda::CUstream stream = nullptr;  // null: CUDA's own default stream
  size_t dim = 0;
};

// Rows of consecutive prompts that lie side by side on a GPU: a matrix, for whoever speaks DLPack or the CUDA
// array interface. A view of its batch, as are the matrices made of it.
class DeviceBlock {
 public:
  DeviceBlock(const DeviceHome& home, const std::shared_ptr<Views>& views, cuda::CUdeviceptr address,
              size_t first, size_t rows)
      : address_(address),
        first_(first),
        rows_(rows),
        dim_(home.dim),
        ordinal_(home.device->facts().ordinal),
        views_(views),
        hold_(Views::Hold(views)) {}

  size_t rows() const { return rows_; }
  nb::slice Prompts() const {
    return {static_cast<Py_ssize_t>(first_), static_cast<Py_ssize_t>(first_ + rows_), Py_ssize_t{1}};
  }
  std::tuple<size_t, size_t> Shape() const { return {rows_, dim_}; }
  // The stream that the reader names need not wait: nothing is under way in this memory.
  nb::object Dlpack(const nb::kwargs& /*wishes*/) const { return Matrix().Dlpack(Views::Hold(views_)); }
  std::tuple<int, int> DlpackDevice() const { return {nb::device::cuda::value, ordinal_}; }
  nb::dict ArrayInterface() const { return Matrix().ArrayInterface(); }

 private:
  DeviceMatrix Matrix() const { return {address_, rows_, dim_, ordinal_}; }

  cuda::CUdeviceptr address_;
  size_t first_;
  size_t rows_;
  size_t dim_;
  int ordinal_;
  std::shared_ptr<Views> views_;
  nb::capsule hold_;
};

// What an engine gets to see of one batch, or of one submission.
class NativeBatch {
 public:
  // `home`: of an engine with a device, outlives this; else null.
  NativeBatch(std::vector<Prompt*> prompts, const DeviceHome* home)
      : home_(home), prompts_(std::move(prompts)) {
    MarkAllUnfilled();
  }
  explicit NativeBatch(std::shared_ptr<Task> task) : task_(std::move(task)) {
    for (Prompt& prompt : task_->prompts()) prompts_.push_back(&prompt);
    MarkAllUnfilled();
  }

  size_t size() const { return prompts_.size(); }
  bool HoldsTokenIds() const { return Open().front()->kind == PromptKind::kTokenIds; }
  uint64_t id() const { return id_; }
  int32_t priority() const { return task_ ? task_->submission().priority : 0; }
  // time.monotonic() is the same clock.
  std::optional<double> Deadline() const {
    const int64_t ns = task_ ? task_->submission().deadline_monotonic_ns : 0;
    return ns == 0 ? std::nullopt : std::optional<double>(static_cast<double>(ns) * 1e-9);
  }

  nb::str Text(size_t i) const {
    const std::string_view text = At(i).text;
    return nb::str(text.data(), text.size());
  }
  Bytes TextBytes(size_t i) const {
    const std::string_view text = At(i).text;
    return Bytes(text.data(), {text.size()}, Views::Hold(views_));
  }
  Ids TokenIds(size_t i) const {
    const auto ids = At(i).token_ids;
    return Ids(ids.data(), {ids.size()}, Views::Hold(views_));
  }
  Row RowAt(size_t i) const {
    const auto row = HostRow(i);
    return Row(row.data(), {row.size()}, Views::Hold(views_));
  }
  void Fill(const Matrix& rows) const {
    if (rows.shape(0) != size() || rows.shape(1) != HostRow(0).size())
      throw nb::value_error("another shape than the rows");
    for (size_t i = 0; i < size(); ++i)
      std::copy_n(rows.data() + i * rows.shape(1), rows.shape(1), HostRow(i).data());
  }

  bool OnDevice() const { return home_ != nullptr; }
  size_t Dim() const { return home_ != nullptr ? home_->dim : At(0).row.size(); }
  uint64_t Stream() const { return home_ != nullptr ? reinterpret_cast<uintptr_t>(home_->stream) : 0; }
  // As few as there can be, in the order of the prompts; together all rows of the batch.
  std::vector<DeviceBlock> DeviceBlocks() {
    if (home_ == nullptr)
      throw nb::value_error("info() names no device: the rows are on the host, in batch.rows");
    const auto& prompts = Open();
    std::vector<DeviceBlock> blocks;
    for (size_t first = 0, end = 0; first < prompts.size(); first = end) {
      const cuda::CUdeviceptr address = prompts[first]->device_row;
      while (end < prompts.size() &&
             prompts[end]->device_row == address + (end - first) * home_->dim * sizeof(float))
        ++end;
      blocks.emplace_back(*home_, views_, address, first, end - first);
    }
    blocks_shown_ = true;
    return blocks;
  }

  // The first row that the engine has left as it was. Of rows on a GPU nobody can tell but that it never
  // asked where they are.
  std::optional<size_t> FirstUnfilled() const {
    if (home_ != nullptr) return blocks_shown_ ? std::nullopt : std::optional<size_t>(0);
    const auto untouched = [](const Prompt* prompt) {
      return Bits(prompt->row.front()) == kUnfilled || Bits(prompt->row.back()) == kUnfilled;
    };
    const auto found = std::find_if(Open().begin(), prompts_.end(), untouched);
    return found == prompts_.end() ? std::nullopt : std::optional<size_t>(found - prompts_.begin());
  }

  // Before an engine tries again with a prompt.
  void MarkUnfilled(size_t i) {
    if (home_ != nullptr) return;
    const auto row = At(i).row;
    row.front() = row.back() = std::bit_cast<float>(kUnfilled);
  }
  // Of this batch, that are not gone yet.
  size_t ViewsHeld() const { return views_->held(); }

  void Finish(SubmissionEnd end) {
    Close();
    if (task_ == nullptr) return;
    views_->WhenNone([task = std::exchange(task_, nullptr), end = std::move(end)] { task->Finish(end); });
  }
  void FinishOk() {
    uint32_t tokens = 0;
    for (const Prompt* prompt : Open()) tokens += prompt->length;
    Finish({.tokens = tokens});
  }
  void FinishRejected(uint32_t prompt, std::string why) {
    Finish({CompletionStatus::kRejected, prompt, std::move(why)});
  }
  void FinishFailed(uint32_t prompt, std::string why) {
    Finish({CompletionStatus::kFailed, prompt, std::move(why)});
  }
  void FinishWithdrawn() { Finish({CompletionStatus::kWithdrawn}); }
  // The prompts are gone, or will be at any moment.
  void Close() { open_ = false; }

 private:
  static uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }
  const std::vector<Prompt*>& Open() const {
    if (!open_) throw nb::value_error("the batch is over: its prompts and rows are there during embed only");
    return prompts_;
  }
  const Prompt& At(size_t i) const {
    if (i >= Open().size()) throw nb::index_error("no such prompt in the batch");
    return *prompts_[i];
  }
  std::span<float> HostRow(size_t i) const {
    if (home_ != nullptr)
      throw nb::value_error(
          "the rows are on a GPU, as info() says: batch.fill a tensor, or write to batch.device_blocks");
    return At(i).row;
  }
  void MarkAllUnfilled() {
    for (size_t i = 0; i < prompts_.size(); ++i) MarkUnfilled(i);
  }

  std::shared_ptr<Task> task_;  // none: the batch of a worker that makes batches, or finished
  const std::shared_ptr<Views> views_ = std::make_shared<Views>();
  const uint64_t id_ = task_ ? task_->submission().cookie : 0;
  const DeviceHome* const home_ = nullptr;
  std::vector<Prompt*> prompts_;
  bool open_ = true;
  bool blocks_shown_ = false;
};

// An error of the interpreter, or of a conversion, is ours; it must not cross the loop. The lock is held.
template <typename Call>
absl::Status Guarded(Call call) {
  try {
    return call();
  } catch (const std::exception& error) {
    return absl::InternalError(std::string("zerohop.replica failed: ") + error.what());
  }
}

// Calls a method of the runner whose answer does not matter.
template <typename... Arguments>
absl::Status Tell(nb::handle runner, const char* what, const Arguments&... arguments) {
  const nb::gil_scoped_acquire gil;
  return Guarded([&] {
    runner.attr(what)(arguments...);
    return absl::OkStatus();
  });
}

// What the runner says of a loaded engine.
struct Loaded {
  EngineInfo info;
  std::optional<std::string> device{};  // where rows are born; none: on the host
  uint64_t stream = 0;                  // that rows are written by, of an engine with a device
};

// As the engine says it, or why there is none.
absl::StatusOr<Loaded> LoadThrough(nb::handle runner) {
  const nb::gil_scoped_acquire gil;
  Loaded loaded;
  EngineInfo& info = loaded.info;
  const absl::Status ended = Guarded([&] {
    const auto [said, error] = nb::cast<std::tuple<nb::object, std::string>>(runner.attr("load")());
    if (said.is_none()) return absl::InvalidArgumentError(error);
    const auto number = [&said = said](const char* name) { return nb::cast<uint32_t>(said.attr(name)); };
    info.dim = number("dim");
    info.max_tokens = number("max_tokens");
    info.vocabulary = number("vocabulary");
    info.batch_tokens = number("batch_tokens");
    info.batch_prompts = number("batch_prompts");
    info.engine = nb::cast<std::string>(said.attr("engine"));
    info.dtype = nb::cast<std::string>(said.attr("dtype"));
    loaded.device = nb::cast<std::optional<std::string>>(said.attr("device"));
    if (loaded.device) loaded.stream = nb::cast<uint64_t>(said.attr("stream"));
    return absl::OkStatus();
  });
  if (!ended.ok()) return ended;
  return loaded;
}

// The GPU that an engine has named, and its stream, which must be one.
absl::StatusOr<DeviceHome> OpenHome(const Loaded& loaded) {
  const auto refuse = [](const char* what, const absl::Status& why) {
    return absl::InvalidArgumentError(std::string(what) + ": " + std::string(why.message()));
  };
  auto device = CudaDevice::Open(*loaded.device);
  if (!device.ok()) return refuse("info().device", device.status());
  DeviceHome home{*std::move(device), reinterpret_cast<cuda::CUstream>(loaded.stream), loaded.info.dim};
  if (absl::Status entered = home.device->Enter(); !entered.ok()) return refuse("info().device", entered);
  const cuda::CUresult asked = home.device->driver().cuStreamQuery(home.stream);
  if (asked != cuda::CUDA_ERROR_NOT_READY) {
    if (absl::Status ok = home.device->Check(asked, "use it"); !ok.ok()) return refuse("info().stream", ok);
  }
  return home;
}

// How long a prompt probably is: only the engine will know, and only later.
void EstimateLength(Prompt* prompt, uint32_t max_tokens) {
  const size_t tokens = prompt->kind == PromptKind::kTokenIds ? prompt->token_ids.size()
                                                              : 2 + prompt->text.size() / kBytesPerToken;
  prompt->length = static_cast<uint32_t>(std::clamp<size_t>(tokens, 1, std::max(1u, max_tokens)));
}

// An engine whose embed is a plain function: the shim makes its batches.
class BatchEngine final : public Engine {
 public:
  explicit BatchEngine(nb::handle runner) : runner_(runner) {}

  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override {
    auto loaded = LoadThrough(runner_);
    if (!loaded.ok()) return loaded.status();
    max_tokens_ = loaded->info.max_tokens;
    if (loaded->device) {
      auto home = OpenHome(*loaded);
      if (!home.ok()) return home.status();
      home_ = *std::move(home);
      loaded->info.device = home_->device->uuid();
    }
    return loaded->info;
  }
  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) EstimateLength(prompt, max_tokens_);
    return absl::OkStatus();
  }
  // Prompts of several submissions may run together, but a batch holds texts or token ids, never both.
  absl::Status Run(std::span<Prompt* const> batch) override {
    std::vector<Prompt*> texts, ids;
    for (Prompt* prompt : batch) (prompt->kind == PromptKind::kText ? texts : ids).push_back(prompt);
    for (auto* part : {&texts, &ids}) {
      if (part->empty()) continue;
      // Rows that lie side by side on a GPU make one block where their prompts follow each other.
      if (home_) {
        std::sort(part->begin(), part->end(),
                  [](const Prompt* a, const Prompt* b) { return a->device_row < b->device_row; });
      }
      if (absl::Status status = RunOne(*part); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  std::shared_ptr<const CudaDevice> device() const override { return home_ ? home_->device : nullptr; }
  cuda::CUstream stream() const override { return home_ ? home_->stream : nullptr; }
  void Close() override { (void)Tell(runner_, "close"); }

 private:
  absl::Status RunOne(const std::vector<Prompt*>& prompts) {
    const nb::gil_scoped_acquire gil;
    const auto batch = std::make_shared<NativeBatch>(prompts, home_ ? &*home_ : nullptr);
    const absl::Status ended = Guarded([&] {
      const auto [why, rejected] = nb::cast<std::tuple<std::string, bool>>(runner_.attr("run")(batch));
      if (why.empty()) return absl::OkStatus();
      return rejected ? absl::InvalidArgumentError(why) : absl::InternalError(why);
    });
    batch->Close();
    // The worker is about to ask the device, on this thread, and an engine may have gone to another one.
    if (home_) {
      if (absl::Status back = home_->device->Enter(); !back.ok()) return absl::InternalError(back.message());
    }
    return ended;
  }

  const nb::handle runner_;
  uint32_t max_tokens_ = 0;
  std::optional<DeviceHome> home_;  // of an engine whose rows are born on a GPU
};

// An engine whose embed is a coroutine: it gets every submission as it comes.
class TaskEngine final : public ConcurrentEngine {
 public:
  explicit TaskEngine(nb::handle runner) : runner_(runner) {}

  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override {
    auto loaded = LoadThrough(runner_);
    if (!loaded.ok()) return loaded.status();
    max_tokens_ = loaded->info.max_tokens;
    return loaded->info;
  }
  void Begin(std::shared_ptr<Task> task) override {
    for (Prompt& prompt : task->prompts()) EstimateLength(&prompt, max_tokens_);
    const nb::gil_scoped_acquire gil;  // until our hold of the batch is gone
    const absl::Status begun = Tell(runner_, "begin", std::make_shared<NativeBatch>(task));
    if (!begun.ok())
      task->Finish({.status = CompletionStatus::kFailed, .detail = std::string(begun.message())});
  }
  void Cancel(const std::shared_ptr<Task>& task) override {
    (void)Tell(runner_, "cancel", task->submission().cookie);
  }
  void Close() override { (void)Tell(runner_, "close"); }

 private:
  const nb::handle runner_;
  uint32_t max_tokens_ = 0;
};

// `runner` is kept alive by the caller, until this returns.
int Serve(nb::handle runner, bool concurrent, const std::string& connect, int cpu) {
  const nb::gil_scoped_release released;
  if (connect.empty() && IsSpawned()) GuardProcessGroup();
  WarmEngine engine(EngineOptions(), [&]() -> absl::StatusOr<AnyEngine> {
    if (concurrent) return std::make_unique<TaskEngine>(runner);
    return std::make_unique<BatchEngine>(runner);
  });
  return ServeReplica(engine, {cpu, connect});
}

int Refuse(const std::string& why) {
  const nb::gil_scoped_release released;
  return RefuseToServe(absl::InvalidArgumentError(why));
}

}  // namespace
}  // namespace zerohop

NB_MODULE(_shim, module) {
  using zerohop::DeviceBlock;
  using zerohop::NativeBatch;
  module.doc() = "The replica's loop, in C++. Private: zerohop.replica is the interface.";
  nb::class_<DeviceBlock>(
      module, "DeviceBlock",
      "Rows of consecutive prompts, side by side on a GPU: a float32 matrix (n, dim) for whoever "
      "takes DLPack or the CUDA array interface.")
      .def("__len__", &DeviceBlock::rows)
      .def_prop_ro("prompts", &DeviceBlock::Prompts,
                   "Which prompts of the batch: rows[block.prompts] are theirs.")
      .def_prop_ro("shape", &DeviceBlock::Shape, "(n, dim)")
      .def("__dlpack__", &DeviceBlock::Dlpack, nb::sig("def __dlpack__(self, **wishes: object) -> object"))
      .def("__dlpack_device__", &DeviceBlock::DlpackDevice)
      .def_prop_ro("__cuda_array_interface__", &DeviceBlock::ArrayInterface,
                   nb::sig("def __cuda_array_interface__(self) -> dict[str, object]"));
  nb::class_<NativeBatch>(module, "NativeBatch",
                          "One batch of prompts in shared memory, and the rows to fill.")
      .def("__len__", &NativeBatch::size)
      .def_prop_ro("holds_token_ids", &NativeBatch::HoldsTokenIds)
      .def_prop_ro("id", &NativeBatch::id)
      .def_prop_ro("priority", &NativeBatch::priority)
      .def_prop_ro("deadline", &NativeBatch::Deadline)
      .def("text", &NativeBatch::Text, "index"_a)
      .def("text_bytes", &NativeBatch::TextBytes, "index"_a)
      .def("token_ids", &NativeBatch::TokenIds, "index"_a)
      .def("row", &NativeBatch::RowAt, "index"_a)
      .def("fill", &NativeBatch::Fill, "rows"_a)
      .def_prop_ro("on_device", &NativeBatch::OnDevice)
      .def_prop_ro("dim", &NativeBatch::Dim)
      .def_prop_ro("stream", &NativeBatch::Stream)
      .def("device_blocks", &NativeBatch::DeviceBlocks)
      .def("first_unfilled", &NativeBatch::FirstUnfilled)
      .def("mark_unfilled", &NativeBatch::MarkUnfilled, "index"_a)
      .def_prop_ro("views_held", &NativeBatch::ViewsHeld)
      .def("finish_ok", &NativeBatch::FinishOk)
      .def("finish_rejected", &NativeBatch::FinishRejected, "prompt"_a, "why"_a)
      .def("finish_failed", &NativeBatch::FinishFailed, "prompt"_a, "why"_a)
      .def("finish_withdrawn", &NativeBatch::FinishWithdrawn);
  module.def("serve", &zerohop::Serve, "runner"_a, "concurrent"_a, "connect"_a, "cpu"_a,
             "Serves until the broker says otherwise; returns the exit status of the process.");
  module.def("is_spawned", &zerohop::IsSpawned, "Whether a broker has started this process.");
  module.attr("NOT_SPAWNED") = zerohop::kNotSpawned;
  module.def("refuse", &zerohop::Refuse, "why"_a,
             "Tells the broker why this replica cannot begin; returns 1.");
}
