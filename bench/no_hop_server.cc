// The floor: what a C++ gRPC server that answers by itself costs.
//
// Question: how cheap can an Encode be when nothing stands behind the server?
// Load:     whatever load_generator sends; every answer is `--dim` floats a prompt.
// Baseline: this program is the baseline of hop_free.py and of peers.
// Machine:  figures count only beside those of the same run; see README.md.
//
// Async (the default): raw ByteBuffers, one completion queue a thread.
// --share-packets: answers that are ready together share packets, as zerohop's do.
// --sync: the same answer from gRPC's own thread pool.
// Listens on loopback only. Ends on SIGTERM, SIGINT, or when its parent dies.

#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>

#include "bench/async_server.h"
#include "bench/no_hop_answer.h"
#include "bench/shallow_wire.h"

namespace zerohop::bench {
namespace {

struct ServerOptions {
  AsyncServerOptions listen;
  int dim = 768;      // floats per prompt
  bool sync = false;  // gRPC's thread pool in place of our completion queues
  RowSource rows = RowSource::kStatic;
};

class NoHopCall final : public EncodeCall {
 public:
  NoHopCall(RawService& service, grpc::ServerCompletionQueue& queue, const NoHopAnswer& answer)
      : EncodeCall(service, queue), answer_(answer) {}

 private:
  void Begin() override {
    grpc::ByteBuffer answer;
    const grpc::Status status = answer_.Compose(request(), answer);
    Finish(answer, status);
  }

  const NoHopAnswer& answer_;
};

// The synchronous floor: deserialized by nobody either.
class SyncService final : public grpc::Service {
 public:
  explicit SyncService(const NoHopAnswer& answer) {
    AddMethod(new grpc::internal::RpcServiceMethod(
        kEncodeMethod, grpc::internal::RpcMethod::NORMAL_RPC,
        new grpc::internal::RpcMethodHandler<SyncService, grpc::ByteBuffer, grpc::ByteBuffer,
                                             grpc::ByteBuffer, grpc::ByteBuffer>(
            [&answer](SyncService*, grpc::ServerContext*, const grpc::ByteBuffer* request,
                      grpc::ByteBuffer* response) { return answer.Compose(*request, *response); },
            this)));
  }
};

int Serve(const ServerOptions& options) {
  const NoHopAnswer answer(options.dim, options.rows);
  if (options.sync) {
    SyncService service(answer);
    return ServeUntilSignal("no_hop_server", options.listen, service, nullptr);
  }
  RawService service;
  return ServeUntilSignal("no_hop_server", options.listen, service, [&](grpc::ServerCompletionQueue& queue) {
    return std::make_unique<NoHopCall>(service, queue, answer);
  });
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  using namespace zerohop::bench;
  BlockEndingSignals();
  ServerOptions options;
  CLI::App app("A gRPC server that answers Encode by itself: the floor of every comparison");
  AddServerFlags(options.listen, app);
  app.add_option("--dim", options.dim, "floats per prompt")->check(CLI::Range(1, 65536));
  CLI::Option* sharing = app.add_flag("--share-packets", options.listen.share_packets,
                                      "answers that are ready together on one connection share packets");
  app.add_flag("--sync", options.sync, "gRPC's own thread pool in place of completion queues")
      ->excludes(sharing);
  const std::map<std::string, RowSource> sources = {
      {"static", RowSource::kStatic}, {"copied", RowSource::kCopied}, {"computed", RowSource::kComputed}};
  app.add_option("--rows", options.rows,
                 "static: the same for every answer; copied into each; or computed as echo does")
      ->transform(CLI::CheckedTransformer(sources));
  ParseOrExit(options.listen, app, argc, argv);
  return Serve(options);
}
