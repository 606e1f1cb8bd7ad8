#pragma once

// CompletionEvent: what a completion queue hands back; the tag of every
// asynchronous operation points to one.

namespace zerohop {

class CompletionEvent {
 public:
  virtual ~CompletionEvent() = default;
  virtual void Proceed(bool ok) = 0;
};

// Calls a member function of the call that it is part of.
template <typename Call>
class MemberEvent final : public CompletionEvent {
 public:
  using Method = void (Call::*)(bool ok);
  MemberEvent(Call* call, Method method) : call_(call), method_(method) {}
  void Proceed(bool ok) override { (call_->*method_)(ok); }

 private:
  Call* call_;
  Method method_;
};

}  // namespace zerohop
