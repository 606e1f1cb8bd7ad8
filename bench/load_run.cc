#include "bench/load_run.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "bench/process_cpu.h"

namespace zerohop::bench {

using namespace std::chrono_literals;

namespace {

constexpr auto kConnectWithin = 30s;  // thousands of connections, on cores that the server needs too

void ConnectAll(const Channels& channels) {
  for (const auto& channel : channels) channel->GetState(true);
  const auto give_up = std::chrono::system_clock::now() + kConnectWithin;
  for (size_t i = 0; i < channels.size(); ++i) {
    if (channels[i]->WaitForConnected(give_up)) continue;
    throw std::runtime_error("of " + std::to_string(channels.size()) + " connections only " +
                             std::to_string(i) + " came about");
  }
}

// The channels that requests of worker `index` go over.
Channels ShareOf(const LoadOptions& options, const Channels& channels, int index) {
  Channels share;
  for (size_t i = static_cast<size_t>(index); i < channels.size();
       i += static_cast<size_t>(options.threads)) {
    share.push_back(channels[i]);
  }
  if (share.empty()) share.push_back(channels[static_cast<size_t>(index) % channels.size()]);
  return share;
}

// Returns when the window ends.
void CountCpu(const LoadWindow& window, const std::vector<pid_t>& server, LoadResult& result) {
  const pid_t client[] = {getpid()};
  std::this_thread::sleep_until(window.begin);
  const auto server_before = CpuTimeOf(server), client_before = CpuTimeOf(client);
  std::this_thread::sleep_until(window.end);
  result.server_cpu = CpuTimeOf(server) - server_before;
  result.client_cpu = CpuTimeOf(client) - client_before;
}

}  // namespace

Channels OpenChannels(const LoadOptions& options) {
  Channels channels;
  for (int i = 0; i < options.channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    channels.push_back(
        grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments));
  }
  return channels;
}

std::optional<std::string> WaitUntilReady(const LoadOptions& options, const RequestPool& pool,
                                          const std::shared_ptr<grpc::Channel>& channel) {
  grpc::GenericStub stub(channel);
  std::string failure = "nothing was sent";
  const auto give_up = Clock::now() + options.wait_ready;
  do {
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 5s);
    grpc::ByteBuffer answer;
    grpc::Status status;
    auto reader = stub.PrepareUnaryCall(&context, kEncodeMethod, WithId(RequestId(0), pool.Take(0)), &queue);
    reader->StartCall();
    reader->Finish(&answer, &status, &queue);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    ResponseShape shape;
    std::vector<grpc::Slice> slices;
    if (!status.ok()) {
      failure = status.error_message();
    } else if (!answer.Dump(&slices).ok() || !ScanResponse(slices, shape)) {
      failure = "the answer is not an EncodeResponse";
    } else if (!shape.error.empty()) {
      failure = shape.error;
    } else {
      return std::nullopt;
    }
    std::this_thread::sleep_for(50ms);
  } while (Clock::now() < give_up);
  return failure;
}

LoadResult RunLoad(const LoadOptions& options, const RequestPool& pool, const Channels& channels) {
  ConnectAll(channels);
  std::vector<std::unique_ptr<LoadWorker>> workers;
  workers.reserve(static_cast<size_t>(options.threads));
  for (int i = 0; i < options.threads; ++i) {
    workers.push_back(std::make_unique<LoadWorker>(options, pool, i, ShareOf(options, channels, i)));
  }

  const auto begin = Clock::now() + std::chrono::duration_cast<Clock::duration>(options.warmup);
  const LoadWindow window{begin, begin + std::chrono::duration_cast<Clock::duration>(options.seconds)};
  std::mutex mutex;
  std::condition_variable done;
  size_t running = workers.size();
  std::vector<std::jthread> threads;
  threads.reserve(workers.size());
  for (const auto& worker : workers) {
    threads.emplace_back([&, worker = worker.get()] {
      worker->Run(window);
      const std::lock_guard lock(mutex);
      --running;
      done.notify_one();
    });
  }
  LoadResult result;
  CountCpu(window, options.cpu_of, result);
  {
    std::unique_lock lock(mutex);
    const auto limit = window.end + std::chrono::duration_cast<Clock::duration>(options.drain);
    const bool all_answered = done.wait_until(lock, limit, [&] { return running == 0; });
    lock.unlock();
    if (!all_answered) {
      for (const auto& worker : workers) worker->CancelAll();
    }
  }
  threads.clear();  // joins
  for (const auto& worker : workers) result.Merge(worker->result());
  return result;
}

}  // namespace zerohop::bench
