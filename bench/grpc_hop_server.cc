// What Zerohop replaces: a front that forwards every request to its replicas
// over a second gRPC call, written as cheaply as gRPC allows.
//
// Question: what does a hop cost that is a gRPC call?
// Load:     whatever load_generator sends, forwarded as it came to `--replicas`.
// Baseline: no_hop_server alone; peers.py sets Zerohop beside both.
// Machine:  figures count only beside those of the same run; see README.md.
//
// Raw ByteBuffers on both sides; one completion queue a thread takes the events
// of callers and of replicas alike. A caller's deadline goes along, and what the
// replica answers, embeddings or error, comes back. Whatever would make the hop
// dearer is left out: following a caller's cancel, trying again when a replica
// dies, a limit to what waits.
// Listens on loopback only. Ends on SIGTERM, SIGINT, or when its parent dies.

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/async_server.h"
#include "bench/shallow_wire.h"

namespace zerohop::bench {
namespace {

struct HopOptions {
  AsyncServerOptions listen;
  std::vector<std::string> replicas;  // addresses
  bool round_robin = false;           // else to the replica with the fewest requests
};

// One replica: a connection that no other channel shares, and what is under way on it.
struct Upstream {
  explicit Upstream(const std::string& address)
      : channel(Connect(address)), encode(kEncodeMethod, grpc::internal::RpcMethod::NORMAL_RPC, channel) {}

  static std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }

  std::shared_ptr<grpc::Channel> channel;
  // Known to the channel, as in a generated stub: a GenericStub looks its name up for each call.
  grpc::internal::RpcMethod encode;
  std::atomic<int> in_flight{0};
};

// Chooses a replica for each request. Any thread may ask.
class Upstreams {
 public:
  explicit Upstreams(const HopOptions& options) : round_robin_(options.round_robin) {
    for (const std::string& address : options.replicas) all_.emplace_back(address);
  }

  Upstream& Next() {
    if (round_robin_) return all_[turn_++ % all_.size()];
    return *std::ranges::min_element(all_, {}, [](const Upstream& one) { return one.in_flight.load(); });
  }

 private:
  const bool round_robin_;
  std::deque<Upstream> all_;  // which never moves them
  std::atomic<size_t> turn_{0};
};

class HopCall final : public EncodeCall {
 public:
  HopCall(RawService& service, grpc::ServerCompletionQueue& queue, Upstreams& upstreams)
      : EncodeCall(service, queue), upstreams_(upstreams) {}

 private:
  void Begin() override {
    upstream_ = &upstreams_.Next();
    ++upstream_->in_flight;
    onward_.emplace();
    onward_->set_deadline(context().raw_deadline());
    reader_.reset(grpc::internal::ClientAsyncResponseReaderHelper::Create<grpc::ByteBuffer>(
        upstream_->channel.get(), &queue(), upstream_->encode, &*onward_, request()));
    reader_->StartCall();
    reader_->Finish(&answer_, &status_, tag());
  }

  void Continue() override {
    --upstream_->in_flight;
    Finish(answer_, status_);
    reader_.reset();
    onward_.reset();
    answer_.Clear();
  }

  Upstreams& upstreams_;
  Upstream* upstream_ = nullptr;  // that has the request
  std::optional<grpc::ClientContext> onward_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader_;
  grpc::ByteBuffer answer_;
  grpc::Status status_;
};

int Serve(const HopOptions& options) {
  Upstreams upstreams(options);
  RawService service;
  return ServeUntilSignal("grpc_hop_server", options.listen, service,
                          [&](grpc::ServerCompletionQueue& queue) {
                            return std::make_unique<HopCall>(service, queue, upstreams);
                          });
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  using namespace zerohop::bench;
  BlockEndingSignals();
  HopOptions options;
  CLI::App app("Forwards every Encode to one of its replicas over gRPC: the hop that Zerohop takes away");
  AddServerFlags(options.listen, app);
  app.add_option("--replicas", options.replicas, "their addresses")->required();
  app.add_flag("--round-robin", options.round_robin,
               "to each replica in turn, rather than to the one with the fewest requests in flight");
  ParseOrExit(options.listen, app, argc, argv);
  return Serve(options);
}
