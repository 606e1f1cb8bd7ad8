#include "tests/fake_cuda/conformance/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "tests/fake_cuda/conformance/peer_role.h"

extern char** environ;

namespace zerohop::conformance {
namespace {

// Ours, with some names replaced.
std::vector<std::string> Environment(const std::vector<std::string>& changes) {
  std::vector<std::string> all = changes;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string line = *entry;
    const std::string name = line.substr(0, line.find('=') + 1);
    bool replaced = false;
    for (const std::string& change : changes) replaced = replaced || change.rfind(name, 0) == 0;
    if (!replaced) all.push_back(line);
  }
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& lines) {
  std::vector<char*> pointers;
  for (std::string& line : lines) pointers.push_back(line.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Peer::Peer(const std::vector<std::string>& environment, const std::string& program) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  socket_ = UniqueFd(ends[0]);
  const UniqueFd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), kPeerSocket);
  std::vector<std::string> arguments = {program, kPeerRole};
  std::vector<std::string> variables = Environment(environment);
  const int error = ::posix_spawn(&pid_, arguments[0].c_str(), &actions, nullptr, Pointers(arguments).data(),
                                  Pointers(variables).data());
  EXPECT_EQ(error, 0) << std::strerror(error);
  posix_spawn_file_actions_destroy(&actions);
}

Peer::~Peer() {
  if (pid_ > 0) Kill();
}

void Peer::Send(const std::string& command) {
  const std::string line = command + "\n";
  // A peer that died says so when it is asked for its answer.
  (void)::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL);
}

Answer Peer::Receive() {
  for (;;) {
    const size_t end = received_.find('\n');
    if (end != std::string::npos) {
      const std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      const size_t space = line.find(' ');
      return {static_cast<cuda::CUresult>(std::stoul(line)), line.substr(space + 1), false};
    }
    char buffer[512];
    const ssize_t bytes = ::read(socket_.get(), buffer, sizeof(buffer));
    if (bytes <= 0) return {.value = "", .died = true};
    received_.append(buffer, static_cast<size_t>(bytes));
  }
}

Answer Peer::Ask(const std::string& command) {
  Send(command);
  return Receive();
}

std::string Peer::Do(const std::string& command) {
  const Answer answer = Ask(command);
  EXPECT_FALSE(answer.died) << command;
  EXPECT_EQ(answer.code, cuda::CUDA_SUCCESS) << command;
  return answer.value;
}

void Peer::Kill() {
  ::kill(pid_, SIGKILL);
  (void)Wait();
}

int Peer::Exit() {
  Send("exit");
  return Wait();
}

int Peer::Wait() {
  int status = 0;
  EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return status;
}

}  // namespace zerohop::conformance
