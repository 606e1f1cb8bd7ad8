// Answers that are ready together: what goes out on the same socket goes out in one piece.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/support/router_house.h"

namespace zerohop {
namespace {

using testing::ElementsAre;

bool IsCorked(int socket) {
  int corked = -1;
  socklen_t length = sizeof corked;
  ::getsockopt(socket, IPPROTO_TCP, TCP_CORK, &corked, &length);
  return corked == 1;
}

// Whose answers go to two sockets, and how.
class AnswersTogether : public ::testing::Test {
 protected:
  // Tells which request was answered, and whether its socket was held back then.
  class Sink final : public AnswerSink {
   public:
    Sink(AnswersTogether& test, int socket, std::string name)
        : test_(test), socket_(socket), name_(std::move(name)) {}
    int socket() override { return socket_; }
    void OnAnswer(Answer answer) override {
      EXPECT_EQ(answer.outcome, Outcome::kEmbedded) << answer.message;
      test_.answered_.push_back(name_ + (IsCorked(socket_) ? " with others" : " alone"));
    }

   private:
    AnswersTogether& test_;
    const int socket_;
    const std::string name_;
  };

  void Submit(int socket, const std::string& name) {
    auto call = std::make_unique<TestCall>(std::vector<std::string>{name});
    sinks_.push_back(std::make_unique<Sink>(*this, socket, name));
    call->ticket()->sink = sinks_.back().get();
    house_.Submit(std::move(call));
  }
  // All that was submitted, in one turn.
  void AnswerAll() {
    house_.replica(0).AnswerAll();
    house_.Reap();
  }

  const UniqueFd one_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const UniqueFd other_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::vector<std::string> answered_;
  std::vector<std::unique_ptr<Sink>> sinks_;
  RouterHouse house_;
};

TEST_F(AnswersTogether, AreHeldUntilTheLastOfTheirSocket) {
  house_.Serve(0);
  Submit(one_.get(), "a");
  Submit(one_.get(), "b");
  Submit(one_.get(), "c");
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a with others", "b with others", "c with others"));
  EXPECT_FALSE(IsCorked(one_.get()));
}

TEST_F(AnswersTogether, HoldUpNobodyOfAnotherSocket) {
  house_.Serve(0);
  Submit(one_.get(), "a");
  Submit(other_.get(), "b");
  Submit(one_.get(), "c");
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a with others", "c with others", "b alone"));
  EXPECT_FALSE(IsCorked(one_.get()) || IsCorked(other_.get()));
}

TEST_F(AnswersTogether, TheSocketOfTheFirstIsServedFirst) {
  house_.Serve(0);
  Submit(other_.get(), "a");  // the higher number
  Submit(one_.get(), "b");
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a alone", "b alone"));
}

TEST_F(AnswersTogether, AnAnswerAloneIsNotHeld) {
  house_.Serve(0);
  Submit(one_.get(), "a");
  AnswerAll();
  Submit(one_.get(), "b");
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a alone", "b alone"));
}

TEST_F(AnswersTogether, WithoutASocketTheyAreGivenAsTheyCome) {
  house_.Serve(0);
  Submit(-1, "a");
  Submit(-1, "b");
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a alone", "b alone"));
}

TEST_F(AnswersTogether, ASocketThatIsGoneLosesNoAnswer) {
  house_.Serve(0);
  const int gone = ::dup(one_.get());
  Submit(gone, "a");
  Submit(gone, "b");
  ::close(gone);
  AnswerAll();
  EXPECT_THAT(answered_, ElementsAre("a alone", "b alone"));
}

}  // namespace
}  // namespace zerohop
