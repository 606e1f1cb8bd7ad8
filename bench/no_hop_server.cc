// The floor: what a C++ gRPC server that answers by itself costs.
//
// Question: how cheap can an Encode be when nothing stands behind the server?
// Load:     whatever load_generator sends; every answer is `--dim` floats a prompt.
// Baseline: this program is the baseline of hop_free.py and of peers.
// Machine:  figures count only beside those of the same run; see README.md.
//
// Async (the default): raw ByteBuffers, one completion queue a thread.
// --sync: the same answer from gRPC's own thread pool.
// Listens on loopback only. Ends on SIGTERM, SIGINT, or when its parent dies.

#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bench/no_hop_answer.h"
#include "bench/shallow_wire.h"
#include "inference.grpc.pb.h"

namespace zerohop::bench {
namespace {

struct ServerOptions {
  std::string address = "127.0.0.1";   // or unix:PATH; a bench has no business on the network
  int port = 0;                        // 0: any free one, printed
  int dim = 768;                       // floats per prompt
  int cq_threads = 1;                  // one beat two on two cores, where the client needs the other
  int calls = 64;                      // Encode calls that wait for a request, per thread
  bool sync = false;                   // gRPC's thread pool in place of our completion queues
  std::vector<std::string> arguments;  // channel arguments KEY=INTEGER, for experiments
};

using arctic_inference::InferenceService;
using RawService = InferenceService::WithRawMethod_Encode<InferenceService::Service>;

// One Encode at a time, again and again, without an allocation of our own.
class EncodeCall {
 public:
  EncodeCall(RawService& service, grpc::ServerCompletionQueue& queue, const NoHopAnswer& answer)
      : service_(service), queue_(queue), answer_(answer) {
    Listen();
  }

  // The event that this call waited for has happened; `ok` as gRPC gives it.
  // `serving` is false once the queue was shut down and takes nothing more.
  void Proceed(bool ok, bool serving) {
    if (answering_) {
      if (serving) Listen();
      return;
    }
    if (!ok) return;  // the server stopped before a request came
    answering_ = true;
    grpc::ByteBuffer answer;
    const grpc::Status status = answer_.Compose(request_, answer);
    if (status.ok()) {
      writer_->Finish(answer, status, this);
    } else {
      writer_->FinishWithError(status, this);
    }
  }

 private:
  void Listen() {
    answering_ = false;
    writer_.reset();
    context_.emplace();
    writer_.emplace(&*context_);
    request_.Clear();
    service_.RequestEncode(&*context_, &request_, &*writer_, &queue_, &queue_, this);
  }

  RawService& service_;
  grpc::ServerCompletionQueue& queue_;
  const NoHopAnswer& answer_;
  bool answering_ = false;
  grpc::ByteBuffer request_;
  std::optional<grpc::ServerContext> context_;
  std::optional<grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>> writer_;
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

ServerOptions ParseOrExit(int argc, char** argv) {
  ServerOptions options;
  CLI::App app("A gRPC server that answers Encode by itself: the floor of every comparison");
  app.add_option("--address", options.address, "127.0.0.1, [::1] or unix:PATH");
  app.add_option("--port", options.port, "0 takes any free port");
  app.add_option("--dim", options.dim, "floats per prompt")->check(CLI::Range(1, 65536));
  app.add_option("--cq-threads", options.cq_threads, "completion queues, a thread each")
      ->check(CLI::Range(1, 64));
  app.add_option("--calls", options.calls, "calls listening per completion queue")
      ->check(CLI::Range(1, 65536));
  app.add_flag("--sync", options.sync, "gRPC's own thread pool in place of completion queues");
  app.add_option("--arg", options.arguments, "channel argument KEY=INTEGER; may be repeated");
  try {
    app.parse(argc, argv);
    if (!options.address.starts_with("unix:") && options.address != "127.0.0.1" &&
        options.address != "[::1]") {
      throw CLI::ValidationError("--address", "only loopback and unix sockets are served");
    }
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

void AddArguments(const std::vector<std::string>& arguments, grpc::ServerBuilder& builder) {
  for (const std::string& argument : arguments) {
    const size_t split = argument.find('=');
    if (split == std::string::npos) continue;
    builder.AddChannelArgument(argument.substr(0, split), std::atoi(argument.c_str() + split + 1));
  }
}

// Until an event without a call says that the server has stopped. The thread
// shuts its own queue down, so no call can listen on it afterwards.
void ServeQueue(grpc::ServerCompletionQueue& queue) {
  bool serving = true;
  void* call = nullptr;
  for (bool ok = false; queue.Next(&call, &ok);) {
    if (call != nullptr) {
      static_cast<EncodeCall*>(call)->Proceed(ok, serving);
    } else {
      serving = false;
      queue.Shutdown();
    }
  }
}

int Serve(const ServerOptions& options, const sigset_t& ending) {
  const NoHopAnswer answer(options.dim);
  RawService raw_service;
  SyncService sync_service(answer);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;

  const bool unix_socket = options.address.starts_with("unix:");
  int port = options.port;
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  AddArguments(options.arguments, builder);
  builder.AddListeningPort(unix_socket ? options.address : options.address + ":" + std::to_string(port),
                           grpc::InsecureServerCredentials(), unix_socket ? nullptr : &port);
  if (options.sync) {
    builder.RegisterService(&sync_service);
  } else {
    builder.RegisterService(&raw_service);
    for (int i = 0; i < options.cq_threads; ++i) queues.push_back(builder.AddCompletionQueue());
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    std::fprintf(stderr, "no_hop_server: cannot listen on %s port %d\n", options.address.c_str(),
                 options.port);
    return 1;
  }

  std::vector<std::unique_ptr<EncodeCall>> calls;
  std::vector<std::jthread> threads;
  for (const auto& queue : queues) {
    for (int i = 0; i < options.calls; ++i) {
      calls.push_back(std::make_unique<EncodeCall>(raw_service, *queue, answer));
    }
    threads.emplace_back([&queue = *queue] { ServeQueue(queue); });
  }
  if (unix_socket) {
    std::printf("listening on %s\n", options.address.c_str());
  } else {
    std::printf("listening on %s:%d\n", options.address.c_str(), port);
  }
  std::fflush(stdout);

  int signal = 0;
  sigwait(&ending, &signal);
  server->Shutdown(std::chrono::system_clock::now());
  std::vector<grpc::Alarm> stops(queues.size());
  for (size_t i = 0; i < queues.size(); ++i) {
    stops[i].Set(queues[i].get(), std::chrono::system_clock::now(), nullptr);
  }
  threads.clear();  // joins, before the alarms and the calls go
  return 0;
}

}  // namespace
}  // namespace zerohop::bench

int main(int argc, char** argv) {
  const auto options = zerohop::bench::ParseOrExit(argc, argv);
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);  // before gRPC starts threads that would inherit less
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  return zerohop::bench::Serve(options, ending);
}
