#pragma once

// What the gRPC servers of bench/ share: their flags, listening on loopback,
// a thread for each completion queue, the server's side of a call, and an end
// on SIGTERM, SIGINT or the death of whoever started them.

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inference.grpc.pb.h"

namespace zerohop::bench {

struct AsyncServerOptions {
  std::string address = "127.0.0.1";   // or unix:PATH; a bench has no business on the network
  int port = 0;                        // 0: any free one, printed
  int cq_threads = 1;                  // one beats two on two cores, where the client needs the other
  int calls = 64;                      // Encode calls that wait for a request, per thread
  std::vector<std::string> arguments;  // channel arguments KEY=INTEGER, for experiments
  bool share_packets = false;  // answers share packets (shared_packets.h); for calls whose Begin answers
};

using RawService =
    arctic_inference::InferenceService::WithRawMethod_Encode<arctic_inference::InferenceService::Service>;

// One Encode at a time, again and again, without an allocation of its own.
// Everything but the constructor runs on the thread of its queue.
class EncodeCall {
 public:
  EncodeCall(RawService& service, grpc::ServerCompletionQueue& queue) : service_(service), queue_(queue) {
    Listen();
  }
  virtual ~EncodeCall() = default;

  // The event that this call waited for has happened; `ok` as gRPC gives it.
  void Proceed(bool ok);
  // It waits for a request: the next event brings one, where it is `ok`.
  bool listening() const { return state_ == State::kListening; }
  // Of its request.
  std::string peer() const { return context_->peer(); }

 protected:
  // request() is there: Finish, or wait on queue() for one event with this
  // call's tag(). The event then calls Continue, which has the same choice.
  virtual void Begin() = 0;
  virtual void Continue() {}
  void Finish(const grpc::ByteBuffer& answer, const grpc::Status& status);

  grpc::ByteBuffer& request() { return request_; }
  grpc::ServerContext& context() { return *context_; }
  grpc::CompletionQueue& queue() { return queue_; }
  void* tag() { return this; }

 private:
  enum class State { kListening, kWorking, kAnswering };

  void Listen();

  RawService& service_;
  grpc::ServerCompletionQueue& queue_;
  State state_ = State::kListening;
  grpc::ByteBuffer request_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>> writer_;
};

void AddServerFlags(AsyncServerOptions& options, CLI::App& app);
// Prints help or what is wrong and exits, or returns with `options` checked.
void ParseOrExit(const AsyncServerOptions& options, CLI::App& app, int argc, char** argv);

// First thing in main: threads that gRPC starts earlier would take the signals.
void BlockEndingSignals();

// Serves until a signal, having printed "listening on ADDRESS". `make_call` is
// asked for `options.calls` of them for each queue; without one, gRPC's own
// thread pool serves. Returns main's exit code: 1 where it cannot listen.
using MakeCall = std::function<std::unique_ptr<EncodeCall>(grpc::ServerCompletionQueue&)>;
int ServeUntilSignal(const char* program, const AsyncServerOptions& options, grpc::Service& service,
                     const MakeCall& make_call);

}  // namespace zerohop::bench
