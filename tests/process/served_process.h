#pragma once

// ServedProcess: `zerohop serve` as a process of its own, for a client in this
// language. On a free port of 127.0.0.1; the port is read from its log.
// Lifetime: ended by its pid when this goes, and by the kernel when the test dies.
// One thread reads its log, so that it never waits for us.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace zerohop {

// A wait that ends early on success; what is waited for never takes this long unless it is broken.
constexpr std::chrono::seconds kPatience(60);

// Waits for a condition that another process brings about; false where it never does.
template <typename Condition>
bool Until(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

class ServedProcess {
 public:
  explicit ServedProcess(const std::vector<std::string>& flags) {
    const char* bin = std::getenv("ZEROHOP_BIN");
    std::vector<std::string> command{std::string(bin ? bin : ".") + "/zerohop", "serve", "--engine=echo",
                                     "--host=127.0.0.1", "--port=0"};
    command.insert(command.end(), flags.begin(), flags.end());
    std::vector<char*> argv;
    for (std::string& part : command) argv.push_back(part.data());
    argv.push_back(nullptr);
    int log[2];
    if (::pipe(log) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) {
      // Only what is safe between fork and exec: the parent may have threads.
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(log[1], STDOUT_FILENO);
      ::dup2(log[1], STDERR_FILENO);
      ::close(log[0]);
      ::close(log[1]);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(log[1]);
    reader_ = std::thread([this, from = log[0]] { ReadLog(from); });
  }
  ServedProcess(const ServedProcess&) = delete;
  ~ServedProcess() { Stop(SIGKILL); }

  pid_t pid() const { return pid_; }

  // "127.0.0.1:PORT", once it listens; empty if it ended instead.
  std::string WaitAddress() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return !address_.empty() || log_ended_; });
    return address_;
  }

  // Sends the signal and waits for the end; the exit status, or minus the signal that it died of.
  int Stop(int signal) {
    if (pid_ < 0) return status_;
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    reader_.join();
    return status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  // Waits until it ends by itself.
  int Wait() { return Stop(0); }

  std::string log() {
    std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  void ReadLog(int from) {
    static constexpr std::string_view kMark = "listening on ";
    char some[4096];
    for (ssize_t n; (n = ::read(from, some, sizeof some)) > 0;) {
      std::lock_guard lock(mutex_);
      log_.append(some, static_cast<size_t>(n));
      const size_t at = log_.find(kMark);
      const size_t end = at == std::string::npos ? at : log_.find(',', at);
      if (end != std::string::npos) address_ = log_.substr(at + kMark.size(), end - at - kMark.size());
      changed_.notify_all();
    }
    ::close(from);
    std::lock_guard lock(mutex_);
    log_ended_ = true;
    changed_.notify_all();
  }

  pid_t pid_ = -1;
  int status_ = 0;
  std::mutex mutex_;  // of what the reader writes
  std::condition_variable changed_;
  std::string log_;
  std::string address_;
  bool log_ended_ = false;
  std::thread reader_;
};

}  // namespace zerohop
