// zerohop._shim: the replica's loop (replica_shim/), for engines in Python.
//
// The loop is C++ and holds no lock of the interpreter while it waits: beats go
// on whatever Python does. A Runner (zerohop/replica/_runners.py) stands for
// the engine: it catches what an engine may raise, so nothing of it crosses this file.
//
// Prompts and rows are shown as views over the lane, and an engine may leave
// some to a thread of its own. So the end of a submission is published when the
// last view of it is gone: nobody else's answer lies in that memory before.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

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

#include "replica_shim/group_guard.h"
#include "replica_shim/serve_replica.h"
#include "replica_shim/task.h"

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

// What an engine gets to see of one batch, or of one submission.
class NativeBatch {
 public:
  explicit NativeBatch(std::vector<Prompt*> prompts) : prompts_(std::move(prompts)) { MarkAllUnfilled(); }
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
    const auto row = At(i).row;
    return Row(row.data(), {row.size()}, Views::Hold(views_));
  }
  void Fill(const Matrix& rows) const {
    if (rows.shape(0) != size() || rows.shape(1) != At(0).row.size())
      throw nb::value_error("another shape than the rows");
    for (size_t i = 0; i < size(); ++i)
      std::copy_n(rows.data() + i * rows.shape(1), rows.shape(1), At(i).row.data());
  }
  // The first row that the engine has left as it was.
  std::optional<size_t> FirstUnfilled() const {
    const auto untouched = [](const Prompt* prompt) {
      return Bits(prompt->row.front()) == kUnfilled || Bits(prompt->row.back()) == kUnfilled;
    };
    const auto found = std::find_if(Open().begin(), prompts_.end(), untouched);
    return found == prompts_.end() ? std::nullopt : std::optional<size_t>(found - prompts_.begin());
  }

  // Before an engine tries again with a prompt.
  void MarkUnfilled(size_t i) {
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
  void MarkAllUnfilled() {
    for (size_t i = 0; i < prompts_.size(); ++i) MarkUnfilled(i);
  }

  std::shared_ptr<Task> task_;  // none: the batch of a worker that makes batches, or finished
  const std::shared_ptr<Views> views_ = std::make_shared<Views>();
  const uint64_t id_ = task_ ? task_->submission().cookie : 0;
  std::vector<Prompt*> prompts_;
  bool open_ = true;
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

// What the runner says of a loaded engine, or why there is none; and how long a prompt may be.
absl::StatusOr<EngineInfo> LoadThrough(nb::handle runner, uint32_t* max_tokens) {
  const nb::gil_scoped_acquire gil;
  EngineInfo info;
  const absl::Status loaded = Guarded([&] {
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
    return absl::OkStatus();
  });
  if (!loaded.ok()) return loaded;
  *max_tokens = info.max_tokens;
  return info;
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
    return LoadThrough(runner_, &max_tokens_);
  }
  absl::Status Tokenize(std::span<Prompt* const> prompts) override {
    for (Prompt* prompt : prompts) EstimateLength(prompt, max_tokens_);
    return absl::OkStatus();
  }
  // Prompts of several submissions may run together, but a batch holds texts or token ids, never both.
  absl::Status Run(std::span<Prompt* const> batch) override {
    std::vector<Prompt*> texts, ids;
    for (Prompt* prompt : batch) (prompt->kind == PromptKind::kText ? texts : ids).push_back(prompt);
    for (auto& part : {texts, ids}) {
      if (part.empty()) continue;
      if (absl::Status status = RunOne(part); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  void Close() override { (void)Tell(runner_, "close"); }

 private:
  absl::Status RunOne(const std::vector<Prompt*>& prompts) {
    const nb::gil_scoped_acquire gil;
    const auto batch = std::make_shared<NativeBatch>(prompts);
    const absl::Status ended = Guarded([&] {
      const auto [why, rejected] = nb::cast<std::tuple<std::string, bool>>(runner_.attr("run")(batch));
      if (why.empty()) return absl::OkStatus();
      return rejected ? absl::InvalidArgumentError(why) : absl::InternalError(why);
    });
    batch->Close();
    return ended;
  }

  const nb::handle runner_;
  uint32_t max_tokens_ = 0;
};

// An engine whose embed is a coroutine: it gets every submission as it comes.
class TaskEngine final : public ConcurrentEngine {
 public:
  explicit TaskEngine(nb::handle runner) : runner_(runner) {}

  absl::StatusOr<EngineInfo> Load(const EngineOptions&) override {
    return LoadThrough(runner_, &max_tokens_);
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
  using zerohop::NativeBatch;
  module.doc() = "The replica's loop, in C++. Private: zerohop.replica is the interface.";
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
