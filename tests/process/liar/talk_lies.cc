// Lies told over the control socket and on the output.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include "shm/row.h"
#include "tests/process/liar/lie.h"

namespace zerohop {
namespace {

constexpr size_t kFdsAPacket = 8;

// A packet as it is, with `fds` descriptors of /dev/null. Waits while the socket is full.
void SendRaw(Stage& stage, std::string bytes, size_t fds = 0) {
  iovec piece{bytes.data(), bytes.size()};
  msghdr header{};
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsAPacket * sizeof(int))] = {};
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (fds > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds * sizeof(int));
    for (size_t i = 0; i < fds; ++i) {
      const int fd = null.get();
      std::memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  (void)::sendmsg(stage.control.fd(), &header, MSG_NOSIGNAL);
}

std::string Noise(size_t bytes) {
  static std::mt19937_64 random(std::random_device{}());
  std::string noise(bytes, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  return noise;
}

// Says it beside honest service.
Lie Says(std::string packet, size_t fds = 0, int times = 1) {
  return Beside{[=](Stage& stage) {
    Confess();
    for (int i = 0; i < times; ++i) SendRaw(stage, packet, fds);
  }};
}

void PrintNoise(Stage&) {
  Confess();
  for (;;) {
    const std::string noise = Noise(32 << 10);
    (void)!::write(STDOUT_FILENO, noise.data(), noise.size());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

const std::string& ReadyMessage() {
  static const std::string message = Encode(Ready{{8, 1 << 20, 1 << 30, 1 << 20, 1024, "echo", "float32"}});
  return message;
}

const std::map<std::string_view, Lie>& Lies() {
  static const std::map<std::string_view, Lie> lies{
      {"says_noise", Beside{[](Stage& stage) {
         Confess();
         SendRaw(stage, Noise(1000));
       }}},
      {"says_too_much", Says(std::string(100'000, '{'))},
      {"says_nothing", Says("")},
      {"says_deep_brackets", Says(std::string(16 << 10, '['))},
      {"says_wrong_types", Says(R"({"type":"hello","protocol":"1","pid":[1]})")},
      {"says_an_array", Says(R"(["type","ready"])")},
      {"says_numbers_beyond_all", Says(R"({"type":"hello","protocol":1e999,"pid":-99999999999999999999})")},
      {"says_unknown_types", Says(R"({"type":"\u0000\u001b[2Jgrant"})")},
      {"says_hello_twice", Says(Encode(Hello{}))},
      {"says_ready_twice", Says(ReadyMessage())},
      {"says_drain", Says(Encode(Drain{}))},
      {"says_offer", Says(Encode(Offer{}))},
      {"says_failed_and_serves", Says(Encode(Failed{"not at all"}))},
      {"says_failed_thousands_of_times", Says(Encode(Failed{std::string(2000, '\n')}), 0, 20'000)},
      {"sends_descriptors_with_words", Says(Encode(Failed{"look here"}), 4, 500)},
      {"sends_more_descriptors_than_expected", Says(Encode(Failed{"and here"}), kFdsAPacket, 500)},
      {"sends_descriptors_with_noise", Says(std::string("\x80\xff{"), 4)},
      {"sends_descriptors_with_nothing", Says("", 4)},
      {"hangs_up", Beside{[](Stage& stage) {
         Confess();
         ::shutdown(stage.control.fd(), SHUT_WR);
       }}},
      {"prints_noise", Beside{PrintNoise}},
      {"claims_dim_1", Claim{[](Ready* ready) { ready->info.dim = 1; }}},
      {"claims_dim_0", Claim{[](Ready* ready) { ready->info.dim = 0; }}},
      {"claims_huge_dim", Claim{[](Ready* ready) { ready->info.dim = kMaxDim; }}},
      {"claims_dim_9", Claim{[](Ready* ready) { ready->info.dim = 9; }}},
      {"claims_max_tokens_1", Claim{[](Ready* ready) { ready->info.max_tokens = 1; }}},
      {"claims_max_tokens_0", Claim{[](Ready* ready) { ready->info.max_tokens = 0; }}},
      {"claims_no_batch",
       Claim{[](Ready* ready) { ready->info.batch_tokens = ready->info.batch_prompts = 0; }}},
      {"claims_huge_numbers", Claim{[](Ready* ready) {
         EngineInfo& info = ready->info;
         info.max_tokens = info.vocabulary = info.batch_tokens = info.batch_prompts = ~0u;
       }}},
      {"claims_strange_names",
       Claim{[](Ready* ready) { ready->info.engine = ready->info.dtype = ready->info.task = Noise(5000); }}},
      {"claims_a_device", Claim{[](Ready* ready) { ready->taken.path = ReturnPath::kCudaIpc; }}},
      {"ready_without_a_lane", Claim{[](Ready*) {}, /*marks_ready=*/false}},
  };
  return lies;
}

}  // namespace

const Lie* FindTalkLie(std::string_view name) {
  const auto found = Lies().find(name);
  return found == Lies().end() ? nullptr : &found->second;
}

}  // namespace zerohop
