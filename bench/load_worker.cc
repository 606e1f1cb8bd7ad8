#include "bench/load_worker.h"

#include <random>
#include <thread>

namespace zerohop::bench {
namespace {

const char* CodeName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "?";
}

// The share of `whole` that falls to worker `index` of `count`.
int Share(int whole, int index, int count) {
  return whole / count + (index < whole % count ? 1 : 0);
}

}  // namespace

void LoadResult::Merge(const LoadResult& other) {
  latency.Merge(other.latency);
  refusals.Merge(other.refusals);
  requests += other.requests;
  prompts += other.prompts;
  answered += other.answered;
  sent += other.sent;
  held_back += other.held_back;
  for (const auto& [code, some] : other.errors) {
    errors[code].count += some.count;
    errors[code].text = some.text;
  }
  for (const auto& [reason, count] : other.wrong) wrong[reason] += count;
}

LoadWorker::LoadWorker(const LoadOptions& options, const RequestPool& pool, int index,
                       std::vector<std::shared_ptr<grpc::Channel>> channels)
    : options_(options),
      pool_(pool),
      index_(index),
      calls_(static_cast<size_t>(Share(options.concurrency, index, options.threads))) {
  for (auto& channel : channels) stubs_.push_back(std::make_unique<grpc::GenericStub>(std::move(channel)));
  for (size_t i = 0; i < calls_.size(); ++i) calls_[i].stub = stubs_[i % stubs_.size()].get();
}

void LoadWorker::Run(LoadWindow window) {
  window_ = window;
  std::jthread pacer;
  if (options_.rate > 0) {
    for (Call& call : calls_) idle_.push_back(&call);
    active_ = 1;
    pacer = std::jthread([this] { Pace(); });
  } else {
    active_ = static_cast<int>(calls_.size());
    for (Call& call : calls_) Send(call, Clock::now());
    if (calls_.empty()) queue_.Shutdown();
  }
  void* tag = nullptr;
  for (bool ok = false; queue_.Next(&tag, &ok);) Finish(*static_cast<Call*>(tag), Clock::now());
  result_.sent = sent_;
}

void LoadWorker::Send(Call& call, Clock::time_point due) {
  // Ids of different workers never meet.
  const uint64_t number = sent_++ * static_cast<uint64_t>(options_.threads) + static_cast<uint64_t>(index_);
  const PooledRequest& request = pool_.Take(number);
  call.id = RequestId(number);
  call.prompts = request.prompts;
  call.due = due;
  if (options_.rotate) call.stub = stubs_[sent_ % stubs_.size()].get();
  call.reader.reset();
  call.context.emplace();
  if (options_.deadline.count() > 0) {
    using SystemDuration = std::chrono::system_clock::duration;
    call.context->set_deadline(std::chrono::system_clock::now() +
                               std::chrono::duration_cast<SystemDuration>(options_.deadline));
  }
  call.sent_at = Clock::now();
  call.answer.Clear();
  call.reader = call.stub->PrepareUnaryCall(&*call.context, kEncodeMethod, WithId(call.id, request), &queue_);
  call.reader->StartCall();
  call.reader->Finish(&call.answer, &call.status, &call);
}

void LoadWorker::Finish(Call& call, Clock::time_point now) {
  const bool counted = now >= window_.begin && now < window_.end;
  if (counted) ++result_.answered;
  if (!call.status.ok()) {
    LoadErrors& errors = result_.errors[CodeName(call.status.error_code())];
    if (errors.count++ == 0) errors.text = call.status.error_message();
    if (call.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      result_.refusals.Record(now - call.sent_at);
    }
  } else if (const std::string reason = CheckAnswer(call); !reason.empty()) {
    ++result_.wrong[reason];
  } else if (counted) {
    result_.latency.Record(now - call.due);
    ++result_.requests;
    result_.prompts += static_cast<uint64_t>(call.prompts);
  }
  if (options_.rate > 0) {
    {
      const std::lock_guard lock(idle_mutex_);
      idle_.push_back(&call);
    }
    Retire();
  } else if (now < window_.end) {
    Send(call, now);
  } else {
    Retire();
  }
}

std::string LoadWorker::CheckAnswer(const Call& call) {
  if (!options_.verify) return {};
  ResponseShape shape;
  slices_.clear();
  if (!call.answer.Dump(&slices_).ok() || !ScanResponse(slices_, shape)) return "not an EncodeResponse";
  if (!shape.error.empty()) return "error: " + shape.error;
  if (shape.request_id != call.id) return "another request's id";
  if (shape.n_prompts != call.prompts) return "n_prompts differs from the request's";
  if (shape.blobs != call.prompts) return "number of blobs differs from the number of prompts";
  const auto row_bytes = static_cast<uint64_t>(shape.dim) * sizeof(float);
  if (shape.dim <= 0 || shape.shortest_blob != row_bytes || shape.longest_blob != row_bytes) {
    return "a blob is not embedding_dim floats";
  }
  return {};
}

void LoadWorker::Pace() {
  std::mt19937_64 random(options_.seed + static_cast<uint64_t>(index_));
  std::exponential_distribution<double> gap(options_.rate / options_.threads);
  for (Clock::time_point due = Clock::now(); due < window_.end;) {
    std::this_thread::sleep_until(due);
    Call* call = nullptr;
    {
      const std::lock_guard lock(idle_mutex_);
      if (!idle_.empty()) {
        call = idle_.back();
        idle_.pop_back();
      }
    }
    if (call == nullptr) {
      ++result_.held_back;  // only the pacer writes it
    } else {
      ++active_;
      Send(*call, due);
    }
    due += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
  }
  Retire();
}

void LoadWorker::Retire() {
  if (--active_ == 0) queue_.Shutdown();
}

void LoadWorker::CancelAll() {
  for (Call& call : calls_) {
    if (call.context.has_value()) call.context->TryCancel();
  }
}

}  // namespace zerohop::bench
