// What single steps of a request cost, each alone, on one thread, in warm caches.
//
// Question: is any step of a request needlessly slow?
// Load:     in the name of each: what a request of one short prompt needs of it, and what a large one does.
// Baseline: after the slash of each name: ours first, then whatever else does the job: malloc for the
//           regions of an arena, protobuf for the scan of a request, memcpy for rows. Some have none.
// Machine:  figures of one machine say little; micro.py prints the ratios.

#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "bench/shallow_wire.h"
#include "broker/front/answers.h"
#include "broker/front/row_frame.h"
#include "broker/front/wire_scan.h"
#include "broker/lanes/region_allocator.h"
#include "broker/router/shard_plan.h"
#include "broker/router/shard_queue.h"
#include "broker/router/ticket.h"
#include "inference.pb.h"
#include "replica_shim/batcher.h"
#include "replica_shim/engines/echo_engine.h"
#include "shm/lane.h"
#include "shm/ring.h"

namespace zerohop::bench {
namespace {

using benchmark::DoNotOptimize;
using benchmark::State;

std::string Count(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

// Adds `subject/side` to what is measured.
template <typename Run>
void Add(const std::string& subject, const char* side, Run run) {
  benchmark::RegisterBenchmark((subject + "/" + side).c_str(), run);
}

// --- regions of an arena -----------------------------------------------------------------------------------

// The two allocators behind one face. What RegionAllocator gives is an offset, never touched here either.
struct Regions {
  RegionAllocator arena{64u << 20};
  uint64_t Take(uint64_t bytes) { return arena.Allocate(bytes).value(); }
  void Give(uint64_t region) { arena.Free(region); }
};
struct Malloc {
  void* Take(uint64_t bytes) { return std::malloc(bytes); }
  void Give(void* region) { std::free(region); }
};

template <typename Allocator>
void TakeOneAndGiveItBack(State& state) {
  Allocator allocator;
  for (auto _ : state) {
    auto region = allocator.Take(RowBytes(768));
    DoNotOptimize(region);
    allocator.Give(region);
  }
}

// Half of the arena is live, in pieces of up to 64 KiB; each turn the oldest goes and another comes.
template <typename Allocator>
void ReplaceTheOldestOfMany(State& state) {
  std::minstd_rand random(1);
  std::uniform_int_distribution<uint64_t> bytes(1, 64 << 10);
  std::array<uint64_t, 1024> sizes;
  for (uint64_t& size : sizes) size = bytes(random);
  Allocator allocator;
  std::vector<decltype(allocator.Take(0))> live;
  for (size_t i = 0; i < 700; ++i) live.push_back(allocator.Take(sizes[i]));
  size_t turn = 0;
  for (auto _ : state) {
    auto& oldest = live[turn % live.size()];
    allocator.Give(oldest);
    oldest = allocator.Take(sizes[turn++ % sizes.size()]);
  }
  for (auto& region : live) allocator.Give(region);
}

void RefuseWhatHasNoRoom(State& state) {
  RegionAllocator arena(64 << 20);
  while (arena.Allocate(RowBytes(768))) continue;
  for (auto _ : state) DoNotOptimize(arena.Allocate(RowBytes(768)));
}

void AddRegions() {
  Add("region of one row, empty arena", "RegionAllocator", TakeOneAndGiveItBack<Regions>);
  Add("region of one row, empty arena", "malloc", TakeOneAndGiveItBack<Malloc>);
  Add("regions of up to 64 KiB, arena in use", "RegionAllocator", ReplaceTheOldestOfMany<Regions>);
  Add("regions of up to 64 KiB, arena in use", "malloc", ReplaceTheOldestOfMany<Malloc>);
  Add("region of one row, full arena", "RegionAllocator", RefuseWhatHasNoRoom);
}

// --- the ring ----------------------------------------------------------------------------------------------

void PushAndTake(State& state) {
  constexpr uint32_t kCells = 1024;
  alignas(kNoShareBytes) std::atomic<uint64_t> tail{0};
  alignas(kNoShareBytes) std::atomic<uint64_t> head{0};
  std::vector<Submission> cells(kCells);
  RingProducer<Submission> producer(&tail, &head, cells.data(), kCells);
  RingConsumer<Submission> consumer(&tail, &head, cells.data(), kCells);
  Submission in{}, out{};
  for (auto _ : state) {
    DoNotOptimize(in);
    const bool moved = producer.Push(in) == RingResult::kDone && consumer.Take(&out) == RingResult::kDone;
    if (!moved) state.SkipWithError("the ring is stuck");
    DoNotOptimize(out);
  }
}

void CopyInAndOut(State& state) {
  std::vector<Submission> cells(1024);
  Submission in{}, out{};
  uint64_t position = 0;
  for (auto _ : state) {
    Submission& cell = cells[position++ % cells.size()];
    DoNotOptimize(in);
    cell = in;
    benchmark::ClobberMemory();
    out = cell;
    DoNotOptimize(out);
  }
}

// --- the scan of a request ---------------------------------------------------------------------------------

std::string MessageOf(int field, const std::vector<std::string>& prompts) {
  std::string message;
  AppendField(1, "0123456789abcdef", message);
  AppendInt(2, static_cast<int64_t>(prompts.size()), message);
  for (const std::string& prompt : prompts) AppendField(field, prompt, message);
  AppendField(5, "echo", message);
  return message;
}

std::string Words(int count) {
  static constexpr const char* kWords[] = {"embedding", "of", "naïve", "the", "shared", "memory"};
  std::string text;
  for (int i = 0; i < count; ++i) text.append(kWords[i % 6]).append(" ");
  return text;
}

std::string Texts(int prompts, const std::string& text) {
  return MessageOf(3, std::vector<std::string>(static_cast<size_t>(prompts), text));
}

std::string TokenIds(int prompts, int ids) {
  std::vector<int32_t> all(static_cast<size_t>(ids));
  for (int i = 0; i < ids; ++i) all[static_cast<size_t>(i)] = i;
  const std::string blob(reinterpret_cast<const char*>(all.data()), all.size() * sizeof(int32_t));
  return MessageOf(4, std::vector<std::string>(static_cast<size_t>(prompts), blob));
}

// As EncodeCall does it: find the prompts, then look into them.
void ScanAndCheck(State& state, const std::string& message) {
  for (auto _ : state) {
    RequestBody body;
    body.AddPiece(std::as_bytes(std::span(message)));
    ScannedRequest scanned;
    bool good = ScanEncodeRequest(body, 1u << 20, &scanned).ok();
    body.kind = scanned.kind;
    body.prompts = std::move(scanned.prompts);
    good = good && (body.kind == PromptKind::kText ? CheckTexts(&body, 1u << 20).ok()
                                                   : CheckTokenIds(body, 1u << 30, 1u << 20).ok());
    if (!good) state.SkipWithError("the request is refused");
    DoNotOptimize(body);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * message.size()));
}

// Parsing checks that texts are UTF-8, too; what ids mean it cannot know.
void Parse(State& state, const std::string& message) {
  for (auto _ : state) {
    arctic_inference::EncodeRequest request;
    if (!request.ParseFromString(message)) state.SkipWithError("the request is refused");
    DoNotOptimize(request);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * message.size()));
}

void AddScans() {
  const std::pair<const char*, std::string> requests[] = {
      {"scan, 1 prompt of 40 characters", Texts(1, std::string(40, 'x'))},
      {"scan, 64 prompts of 300 words", Texts(64, Words(300))},
      {"scan, 400 prompts of 500 token ids", TokenIds(400, 500)},
  };
  for (const auto& [name, message] : requests) {
    Add(name, "ScanEncodeRequest", [message = message](State& state) { ScanAndCheck(state, message); });
    Add(name, "protobuf", [message = message](State& state) { Parse(state, message); });
  }
}

// --- plans -------------------------------------------------------------------------------------------------

void Pick(State& state, size_t waiting, uint32_t token_cost) {
  std::minstd_rand random(1);
  std::uniform_int_distribution<uint32_t> length(4, 256);
  std::vector<uint32_t> lengths(waiting);
  for (uint32_t& l : lengths) l = length(random);
  for (auto _ : state)
    DoNotOptimize(PickBatch(lengths, {.tokens = 768, .prompts = 32, .token_cost = token_cost}));
}

void Plan(State& state, size_t prompts) {
  RequestBody body;
  for (size_t i = 0; i < prompts; ++i) body.prompts.push_back({i * 200, 200});
  for (auto _ : state) DoNotOptimize(PlanShards(body, 256, 2, ShardLimits()));
}

void AddPlans() {
  for (const size_t waiting : {8, 256, 1024}) {
    const std::string name = "batch out of " + Count(waiting, "prompt");
    Add(name, "PickBatch", [=](State& state) { Pick(state, waiting, 0); });
    Add(name, "PickBatch, packed", [=](State& state) { Pick(state, waiting, 2304); });
  }
  for (const size_t prompts : {1, 64, 1000}) {
    Add("shards of " + Count(prompts, "prompt"), "PlanShards", [=](State& state) { Plan(state, prompts); });
  }
}

// --- the queue of shards -----------------------------------------------------------------------------------

// One in, one out, with `waiting` between them.
template <typename Queue, typename Pop>
void Queueing(State& state, size_t waiting, Pop pop) {
  class Nobody final : public AnswerSink {
    void OnAnswer(Answer) override {}
  } nobody;
  auto ticket = std::make_shared<Ticket>();
  ticket->sink = &nobody;
  ticket->shards.resize(waiting + 1);
  Queue queue;
  const auto push = [&](ShardRef shard) {
    if constexpr (requires { queue.PushBack(shard); }) {
      queue.PushBack(std::move(shard));
    } else {
      queue.push_back(std::move(shard));
    }
  };
  for (Shard& shard : ticket->shards) shard.ticket = ticket.get();
  for (size_t i = 0; i < waiting; ++i) push(ShardRef(ticket, &ticket->shards[i]));
  ShardRef next(ticket, &ticket->shards[waiting]);
  for (auto _ : state) {
    push(std::move(next));
    next = pop(queue);
  }
}

void AddQueues() {
  for (const size_t waiting : {0, 1000}) {
    const std::string name = "queue of " + Count(waiting, "shard");
    Add(name, "ShardQueue",
        [=](State& state) { Queueing<ShardQueue>(state, waiting, [](auto& queue) { return queue.Pop(); }); });
    Add(name, "deque", [=](State& state) {
      Queueing<std::deque<ShardRef>>(state, waiting, [](auto& queue) {
        ShardRef front = std::move(queue.front());
        queue.pop_front();
        return front;
      });
    });
  }
}

// --- rows --------------------------------------------------------------------------------------------------

void FillRow(State& state, size_t floats) {
  const std::string text(40, 'x');
  std::vector<float> row(floats);
  for (auto _ : state) {
    FillEchoRow(std::as_bytes(std::span(text)), row);
    DoNotOptimize(row.data());
    benchmark::ClobberMemory();
  }
}

void CopyRow(State& state, size_t floats) {
  std::vector<float> from(floats, 1.0f), row(floats);
  for (auto _ : state) {
    std::memcpy(row.data(), from.data(), floats * sizeof(float));
    DoNotOptimize(row.data());
    benchmark::ClobberMemory();
  }
}

void AddRows() {
  for (const size_t floats : {384, 768, 1024}) {
    const std::string name = "row of " + Count(floats, "float");
    Add(name, "FillEchoRow", [=](State& state) { FillRow(state, floats); });
    Add(name, "memcpy", [=](State& state) { CopyRow(state, floats); });
  }
}

// --- the answer --------------------------------------------------------------------------------------------

constexpr uint32_t kDim = 1024;

// Rows that lie in a lane, and go back to it when gRPC drops them.
void Frame(State& state, int32_t rows) {
  auto lane = BrokerLane::Create({}, LaneGeometry());
  auto bell = BrokerBell::Create();
  if (!lane.ok() || !bell.ok()) return state.SkipWithError("no room for a lane");
  const auto memory =
      std::make_shared<LaneMemory>(std::make_shared<BrokerLane>(*std::move(lane)), bell->ringer());
  for (auto _ : state) {
    Answer answer;
    answer.dim = kDim;
    answer.rows.emplace_back(memory, 0, static_cast<size_t>(rows) * RowBytes(kDim));
    DoNotOptimize(FrameEmbeddings("0123456789abcdef", rows, std::move(answer)));
    uint64_t released;
    while (memory->TakeReleased(&released)) continue;
  }
}

// All rows copied into one slice, with their frames.
void FrameByCopy(State& state, int32_t rows) {
  const std::vector<std::byte> block(static_cast<size_t>(rows) * (kRowFrameBytes + RowBytes(kDim)));
  const std::string header = "0123456789abcdef01234567";
  for (auto _ : state) {
    const grpc::Slice slices[] = {grpc::Slice(header), grpc::Slice(block.data(), block.size())};
    DoNotOptimize(grpc::ByteBuffer(slices, 2));
  }
}

// One slice that names all rows, as if they lay framed in the lane: no frame is in memory of the broker's
// own.
void FrameWhole(State& state, int32_t rows) {
  const std::vector<std::byte> block(static_cast<size_t>(rows) * (kRowFrameBytes + RowBytes(kDim)));
  const std::string header = "0123456789abcdef01234567";
  for (auto _ : state) {
    const grpc::Slice slices[] = {grpc::Slice(header),
                                  grpc::Slice(block.data(), block.size(), grpc::Slice::STATIC_SLICE)};
    DoNotOptimize(grpc::ByteBuffer(slices, 2));
  }
}

void AddAnswers() {
  for (const int32_t rows : {1, 1000}) {
    const std::string name = "answer of " + Count(static_cast<size_t>(rows), "row");
    Add(name, "FrameEmbeddings", [=](State& state) { Frame(state, rows); });
    Add(name, "copy", [=](State& state) { FrameByCopy(state, rows); });
    Add(name, "one slice", [=](State& state) { FrameWhole(state, rows); });
  }
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  using namespace zerohop::bench;
  AddRegions();
  Add("ring, one submission", "push, take", PushAndTake);
  Add("ring, one submission", "copies", CopyInAndOut);
  AddScans();
  AddPlans();
  AddQueues();
  AddRows();
  AddAnswers();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
