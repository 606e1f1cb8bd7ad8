#include "bench/load_run.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace zerohop::bench {

using namespace std::chrono_literals;

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
  for (const auto& channel : channels) channel->GetState(true);
  for (const auto& channel : channels) channel->WaitForConnected(std::chrono::system_clock::now() + 10s);

  std::vector<std::unique_ptr<LoadWorker>> workers;
  for (int i = 0; i < options.threads; ++i) {
    Channels share;
    for (size_t j = static_cast<size_t>(i); j < channels.size(); j += static_cast<size_t>(options.threads)) {
      share.push_back(channels[j]);
    }
    if (share.empty()) share.push_back(channels[static_cast<size_t>(i) % channels.size()]);
    workers.push_back(std::make_unique<LoadWorker>(options, pool, i, std::move(share)));
  }

  const auto begin = Clock::now() + std::chrono::duration_cast<Clock::duration>(options.warmup);
  const LoadWindow window{begin, begin + std::chrono::duration_cast<Clock::duration>(options.seconds)};
  std::mutex mutex;
  std::condition_variable done;
  size_t running = workers.size();
  std::vector<std::jthread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([&, worker = worker.get()] {
      worker->Run(window);
      const std::lock_guard lock(mutex);
      --running;
      done.notify_one();
    });
  }
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
  LoadResult result;
  for (const auto& worker : workers) result.Merge(worker->result());
  return result;
}

}  // namespace zerohop::bench
