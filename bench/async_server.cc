#include "bench/async_server.h"

#include <grpcpp/alarm.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "bench/shallow_wire.h"
#include "bench/shared_packets.h"

namespace zerohop::bench {
namespace {

sigset_t EndingSignals() {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  return ending;
}

void AddArguments(const std::vector<std::string>& arguments, grpc::ServerBuilder& builder) {
  for (const std::string& argument : arguments) {
    const size_t split = argument.find('=');
    if (split == std::string::npos) continue;
    builder.AddChannelArgument(argument.substr(0, split), std::atoi(argument.c_str() + split + 1));
  }
}

// Until an event without a call says that the server has stopped. The thread
// shuts its own queue down, and no call proceeds after that: none can wait on
// a queue that takes nothing more. Without `connections`, no packets are shared.
void ServeQueue(grpc::ServerCompletionQueue& queue, const Connections* connections) {
  AnswerTurns turns(queue, connections);
  bool serving = true;
  void* call = nullptr;
  for (bool ok = false; turns.Next(&call, &ok);) {
    if (call == nullptr) {
      serving = false;
      turns.EndTurn();
      queue.Shutdown();
    } else if (serving) {
      turns.Proceed(*static_cast<EncodeCall*>(call), ok);
    }
  }
}

}  // namespace

void EncodeCall::Proceed(bool ok) {
  switch (state_) {
    case State::kListening:
      if (!ok) return;  // the server stopped before a request came
      state_ = State::kWorking;
      return Begin();
    case State::kWorking:
      return Continue();
    case State::kAnswering:
      return Listen();
  }
}

void EncodeCall::Finish(const grpc::ByteBuffer& answer, const grpc::Status& status) {
  state_ = State::kAnswering;
  if (status.ok()) {
    writer_->Finish(answer, status, this);
  } else {
    writer_->FinishWithError(status, this);
  }
}

void EncodeCall::Listen() {
  state_ = State::kListening;
  writer_.reset();
  context_.emplace();
  writer_.emplace(&*context_);
  request_.Clear();
  service_.RequestEncode(&*context_, &request_, &*writer_, &queue_, &queue_, this);
}

void AddServerFlags(AsyncServerOptions& options, CLI::App& app) {
  app.add_option("--address", options.address, "127.0.0.1, [::1] or unix:PATH");
  app.add_option("--port", options.port, "0 takes any free port");
  app.add_option("--cq-threads", options.cq_threads, "completion queues, a thread each")
      ->check(CLI::Range(1, 64));
  app.add_option("--calls", options.calls, "calls listening per completion queue")
      ->check(CLI::Range(1, 65536));
  app.add_option("--arg", options.arguments, "channel argument KEY=INTEGER; may be repeated");
}

void ParseOrExit(const AsyncServerOptions& options, CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    if (!options.address.starts_with("unix:") && options.address != "127.0.0.1" &&
        options.address != "[::1]") {
      throw CLI::ValidationError("--address", "only loopback and unix sockets are served");
    }
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

void BlockEndingSignals() {
  const sigset_t ending = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
}

int ServeUntilSignal(const char* program, const AsyncServerOptions& options, grpc::Service& service,
                     const MakeCall& make_call) {
  // As the broker does: else every lock within gRPC is looked up in a graph of locks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const bool unix_socket = options.address.starts_with("unix:");
  int port = options.port;
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  AddArguments(options.arguments, builder);
  Connections connections;
  std::optional<OwnPort> own_port;
  if (options.share_packets) {
    own_port.emplace(builder, connections);
  } else {
    builder.AddListeningPort(unix_socket ? options.address : options.address + ":" + std::to_string(port),
                             grpc::InsecureServerCredentials(), unix_socket ? nullptr : &port);
  }
  builder.RegisterService(&service);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
  for (int i = 0; make_call && i < options.cq_threads; ++i) queues.push_back(builder.AddCompletionQueue());
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || (own_port && !own_port->Listen(options.address, port).ok())) {
    std::fprintf(stderr, "%s: cannot listen on %s port %d\n", program, options.address.c_str(), options.port);
    return 1;
  }

  std::vector<std::unique_ptr<EncodeCall>> calls;
  std::vector<std::jthread> threads;
  for (const auto& queue : queues) {
    for (int i = 0; i < options.calls; ++i) calls.push_back(make_call(*queue));
    threads.emplace_back([&queue = *queue, known = options.share_packets ? &connections : nullptr] {
      ServeQueue(queue, known);
    });
  }
  if (unix_socket) {
    std::printf("listening on %s\n", options.address.c_str());
  } else {
    std::printf("listening on %s:%d\n", options.address.c_str(), port);
  }
  std::fflush(stdout);

  const sigset_t ending = EndingSignals();
  int signal = 0;
  sigwait(&ending, &signal);
  own_port.reset();
  server->Shutdown(std::chrono::system_clock::now());
  std::vector<grpc::Alarm> stops(queues.size());
  for (size_t i = 0; i < queues.size(); ++i) {
    stops[i].Set(queues[i].get(), std::chrono::system_clock::now(), nullptr);
  }
  threads.clear();  // joins, before the alarms and the calls go
  return 0;
}

}  // namespace zerohop::bench
